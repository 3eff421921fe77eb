"""The charts: each takes a table of `dashboard.data` and returns an Altair chart for light and dark pages."""

import textwrap
from collections.abc import Iterable, Mapping

import altair as alt
import polars as pl

from dashboard.tables import without_minus_zero

# Okabe and Ito's colours; each chart also encodes by shape, label or position what it encodes by colour.
BLUE, ORANGE, GREEN, PINK, SKY, RED = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"
GREY = "#888888"
# Of members: those above, then Paul Tol's muted colours that can be told from them and show on black and on white.
MEMBERS = (BLUE, ORANGE, GREEN, PINK, SKY, RED, "#999933", "#AA4499", "#44AA99", "#DDCC77", "#CC6677", "#8888CC")
STAGES = {"Pre-trained": (SKY, "circle"), "Fine-tuned": (BLUE, "diamond"), "Shifts merged": (RED, "triangle-up")}
FRAMEWORKS = {"PyTorch": BLUE, "TensorFlow": ORANGE, "LightGBM": GREEN}
MEASURES = {"on the whole holdout": (ORANGE, "circle"), "cross-validated": (BLUE, "diamond")}
SOURCES = {"starting guess": (GREEN, "square"), "proposal": (SKY, "circle"), "polish": (PINK, "triangle-up")}
Chart = alt.LayerChart | alt.FacetChart
ROW = 42  # pixels per row
WRAP = 52  # letters of a line below a title, which fit a narrow screen


def member_colours(members: Iterable[str]) -> dict[str, str]:
    """Colour of each member of a line-up, the same on all pages: `members` are all its members, in any order.

    With more than 12 members colours repeat, so charts also name each member.
    """
    names = sorted(set(members))
    return {name: MEMBERS[number % len(MEMBERS)] for number, name in enumerate(names)}


def stages(scores: pl.DataFrame) -> Chart:
    """MAP per member after each stage. Table: member, stage, map."""
    base = alt.Chart(scores).encode(x=_map_x(scores["map"]), y=_rows(scores, "member"))
    track = base.mark_line(color=GREY, strokeWidth=2, opacity=0.5).encode(detail="member:N")
    points = _marked(base.mark_point(filled=True, size=140, opacity=1), "stage", STAGES, scores).encode(
        tooltip=[alt.Tooltip("member", title="Member"), alt.Tooltip("stage", title="Stage"), _score("map", "MAP")],
    )
    about = "After the labels of videos, after rated segments, and with all shifts merged; further right is better."
    return titled(alt.layer(track, points).properties(height=alt.Step(ROW)), "Stage by stage", about)


def shifts(scores: pl.DataFrame) -> Chart:
    """MAP per member and shift, coloured by `change`. Table: member, shift, order, map, change."""
    columns = scores.sort("order")["shift"].unique(maintain_order=True).to_list()
    changes = scores["change"].drop_nulls().abs().to_list()
    reach = max([*changes, 1e-4])
    base = alt.Chart(without_minus_zero(scores)).encode(
        x=alt.X(
            "shift:N",
            sort=columns,
            title="Shift in frames",
            scale=alt.Scale(paddingInner=0.05, paddingOuter=0),
            axis=alt.Axis(orient="top", labelAngle=0, labelFontSize=13, domain=False, ticks=False),
        ),
        y=_rows(scores, "member").scale(paddingInner=0.06, paddingOuter=0),
        tooltip=[
            alt.Tooltip("member", title="Member"),
            alt.Tooltip("shift", title="Shift"),
            _score("map", "MAP"),
            alt.Tooltip("change", format="+.4f", title="Against no shift"),
        ],
    )
    cells = base.mark_rect(cornerRadius=5).encode(
        color=alt.Color(
            "change:Q",
            scale=alt.Scale(domain=[-reach, 0, reach], range=[ORANGE, "#E4E4E4", SKY], interpolate="rgb"),
            legend=None,
        )
    )
    numbers = base.mark_text(fontSize=13, color="#111111").encode(text=alt.Text("map:Q", format=".4f"))
    about = "MAP@100K with the window moved by some frames: blue is better than without a shift, orange is worse."
    return titled(alt.layer(cells, numbers).properties(height=alt.Step(ROW)), "Shift by shift", about)


def members(scores: pl.DataFrame, colours: Mapping[str, str]) -> Chart:
    """MAP per member with its 95 % interval where known. Table: member, map, low, high."""
    values = pl.concat([scores["map"], scores["low"], scores["high"]]).drop_nulls()
    base = alt.Chart(scores).encode(y=_rows(scores, "member"), color=_member_colour(scores, colours))
    interval = base.mark_rule(strokeWidth=3, opacity=0.5).encode(x=_map_x(values, "low"), x2="high:Q")
    points = base.mark_point(filled=True, size=150, opacity=1).encode(
        x=_map_x(values),
        tooltip=[
            alt.Tooltip("member", title="Member"),
            _score("map", "MAP"),
            _score("low", "Interval from"),
            _score("high", "to"),
        ],
    )
    chart = alt.layer(interval, points).properties(height=alt.Step(ROW - 10))
    interval_words = "" if scores["low"].is_null().all() else "The line is the 95 % interval over resampled videos. "
    return titled(chart, "Members", f"{interval_words}Further right is better.")


def differences(changes: pl.DataFrame, reference: str, colours: Mapping[str, str]) -> Chart:
    """MAP of each member minus the reference's, with the paired interval. Table: member, map, low, high, p."""
    values = pl.concat([changes["map"], changes["low"], changes["high"]]).drop_nulls()
    reach = max(*values.abs().to_list(), 0.002) * 1.1
    across = alt.Scale(domain=[-reach, reach], nice=False)

    def x(field: str) -> alt.X:
        return alt.X(
            f"{field}:Q", title="Difference in MAP@100K", scale=across, axis=alt.Axis(format="+.2f", tickCount=5)
        )

    base = alt.Chart(without_minus_zero(changes)).encode(
        y=_rows(changes, "member"), color=_member_colour(changes, colours)
    )
    zero = alt.Chart(pl.DataFrame({"map": [0.0]})).mark_rule(color=GREY, strokeDash=[4, 4]).encode(x=x("map"))
    interval = base.mark_rule(strokeWidth=3, opacity=0.5).encode(x=x("low"), x2="high:Q")
    points = base.mark_point(filled=True, size=150, opacity=1).encode(
        x=x("map"),
        tooltip=[
            alt.Tooltip("member", title="Member"),
            alt.Tooltip("map", format="+.4f", title="Difference"),
            alt.Tooltip("low", format="+.4f", title="Interval from"),
            alt.Tooltip("high", format="+.4f", title="to"),
            alt.Tooltip("p", format=".3f", title="p of no difference"),
        ],
    )
    about = (
        "Paired on the same videos, with 95 % intervals: to the right of 0 is better, and told apart if 0 is outside."
    )
    return titled(
        alt.layer(zero, interval, points).properties(height=alt.Step(ROW - 10)), f"Against {reference}", about
    )


def gains(scores: pl.DataFrame) -> Chart:
    """`comparison` with a title."""
    about = "Weights are chosen on the holdout: cross-validated figures are what to expect of new videos."
    return titled(comparison(scores), "The ensemble against its baselines", about)


def titled(chart: Chart, title: str, about: str) -> Chart:
    """The chart with its title, and below that what is shown and what is good."""
    text = {"anchor": "start", "fontSize": 16, "offset": 14, "subtitleColor": GREY, "subtitleFontSize": 13}
    return chart.properties(title=alt.TitleParams(title, subtitle=textwrap.wrap(about, WRAP), **text))


def _member_colour(table: pl.DataFrame, colours: Mapping[str, str], legend: alt.Legend | None = None) -> alt.Color:
    """The colour of the column `member`."""
    names = [name for name in colours if name in table["member"]]
    scale = alt.Scale(domain=names, range=[colours[name] for name in names])
    return alt.Color("member:N", scale=scale, legend=legend)


def weights(shares: pl.DataFrame) -> Chart:
    """Weight per member. Table: member, framework, weight."""
    room = 1.15 * max([*shares["weight"], 0.01])  # space for the number after the longest bar
    base = alt.Chart(shares).encode(
        x=alt.X("weight:Q", title="Weight", axis=alt.Axis(format="%", tickCount=5), scale=alt.Scale(domain=[0, room])),
        y=_rows(shares, "member"),
    )
    bars = base.mark_bar(cornerRadiusEnd=4, height=22).encode(
        color=alt.Color("framework:N", scale=_present(FRAMEWORKS, shares["framework"]), legend=_legend()),
        tooltip=[alt.Tooltip("member", title="Member"), alt.Tooltip("weight", format=".1%", title="Weight")],
    )
    labels = base.mark_text(align="left", dx=6, fontSize=13, color=GREY).encode(text=alt.Text("weight:Q", format=".1%"))
    about = "The share of each member in the fusion."
    return titled(alt.layer(bars, labels).properties(height=alt.Step(ROW)), "Weights", about)


def comparison(scores: pl.DataFrame) -> Chart:
    """MAP of the chosen weights and of the baselines. Table: what, measure, map, low, high."""
    values = pl.concat([scores["map"], scores["low"], scores["high"]]).drop_nulls()
    base = alt.Chart(scores).encode(y=_rows(scores, "what"))
    interval = base.mark_rule(color=GREY, strokeWidth=3).encode(x=_map_x(values, "low"), x2="high:Q")
    points = _marked(base.mark_point(filled=True, size=150, opacity=1), "measure", MEASURES, scores).encode(
        x=_map_x(values),
        tooltip=[
            alt.Tooltip("what", title="Ranking"),
            alt.Tooltip("measure", title="Measured"),
            _score("map", "MAP"),
            _score("low", "Interval from"),
            _score("high", "to"),
        ],
    )
    return alt.layer(interval, points).properties(height=alt.Step(ROW + 8))


def search(trials: pl.DataFrame, equal: float | None) -> Chart:
    """MAP per trial and the best so far; `equal` is the MAP of equal weights. Table: trial, source, map, best."""
    values = pl.Series("map", [*trials["map"], *([] if equal is None else [equal])], pl.Float64)
    axis = alt.Axis(format="d", tickMinStep=1, tickCount=10)
    first, last = min(trials["trial"]), max(trials["trial"])
    across = alt.Scale(domain=[first, max(last, first + 1)], nice=False)
    base = alt.Chart(trials).encode(x=alt.X("trial:Q", title="Trial", axis=axis, scale=across))
    tried = _marked(base.mark_point(filled=True, size=55, opacity=0.9, clip=False), "source", SOURCES, trials).encode(
        y=_map_y(values, "map"),
        tooltip=[alt.Tooltip("trial", title="Trial"), alt.Tooltip("source", title="Source"), _score("map", "MAP")],
    )
    best = base.mark_line(color=BLUE, strokeWidth=2.5, interpolate="step-after").encode(y=_map_y(values, "best"))
    layers: list[alt.Chart] = [best, tried]
    if equal is not None:
        line = alt.Chart(pl.DataFrame({"map": [equal], "label": ["equal weights"]})).encode(y=_map_y(values, "map"))
        layers += [
            line.mark_rule(color=ORANGE, strokeDash=[6, 4], strokeWidth=2),
            line.mark_text(align="right", baseline="top", dy=6, dx=-4, color=ORANGE, fontSize=13).encode(
                x=alt.value("width"), text="label"
            ),
        ]
    return alt.layer(*layers).properties(height=340)


def _rows(table: pl.DataFrame, field: str) -> alt.Y:
    """One row per name, in the order of the table."""
    axis = alt.Axis(
        labelLimit=220,
        labelFontSize=13,
        labelOverlap=False,
        labelFlush=False,
        labelBound=False,
        ticks=False,
        domain=False,
    )
    return alt.Y(f"{field}:N", sort=table[field].unique(maintain_order=True).to_list(), title=None, axis=axis)


def _map_x(values: pl.Series, field: str = "map") -> alt.X:
    axis = alt.Axis(format=".2f", tickCount=5)
    return alt.X(f"{field}:Q", title="MAP@100K on the holdout", scale=_close_scale(values), axis=axis)


def _map_y(values: pl.Series, field: str) -> alt.Y:
    axis = alt.Axis(format=".3f", tickCount=5)
    return alt.Y(f"{field}:Q", title="MAP@100K on the holdout", scale=_close_scale(values), axis=axis)


def _close_scale(values: pl.Series) -> alt.Scale:
    """A scale close around the values, not from 0: points encode by position, not by length."""
    low, high = min(values), max(values)
    margin = max((high - low) * 0.12, 0.002)
    return alt.Scale(domain=[max(low - margin, 0.0), min(high + margin, 1.0)], nice=False, zero=False)


def _marked(chart: alt.Chart, field: str, marks: dict[str, tuple[str, str]], table: pl.DataFrame) -> alt.Chart:
    """The chart with a colour and a shape per value of `field` in the table."""
    present = [value for value in marks if value in table[field]]
    colours, shapes = ([marks[value][index] for value in present] for index in (0, 1))
    return chart.encode(
        color=alt.Color(f"{field}:N", scale=alt.Scale(domain=present, range=colours), legend=_legend()),
        shape=alt.Shape(f"{field}:N", scale=alt.Scale(domain=present, range=shapes)),
    )


def _present(colours: dict[str, str], values: pl.Series) -> alt.Scale:
    """A scale of colours for the values in the table only, so the legend has no others."""
    present = {name: colour for name, colour in colours.items() if name in values}
    present |= {name: PINK for name in values.unique(maintain_order=True) if name not in colours}
    return alt.Scale(domain=list(present), range=list(present.values()))


def _legend() -> alt.Legend:
    return alt.Legend(title=None, orient="top", columns=1, symbolSize=120, labelFontSize=13)  # fits a narrow screen


def _score(field: str, title: str) -> alt.Tooltip:
    return alt.Tooltip(field, format=".4f", title=title)
