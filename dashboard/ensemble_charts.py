"""The charts about weights, searches and lost MAP, for light and dark pages."""

from collections.abc import Iterable, Mapping

import altair as alt
import polars as pl

from dashboard.charts import BLUE, GREY, ORANGE, SKY, Chart, member_colours, titled
from dashboard.tables import without_minus_zero

ROW = 26  # pixels per row


def shares(weights: Mapping[str, float], members: Iterable[str]) -> Chart:
    """Share of each member of positive weight, largest first; `members` are all members, for their colours."""
    rows = sorted(((m, share) for m, share in weights.items() if share > 0), key=lambda item: (-item[1], item[0]))
    table = pl.DataFrame(rows, {"member": pl.String, "share": pl.Float64}, orient="row")
    base = alt.Chart(table).encode(
        x=alt.X(
            "share:Q",
            title="Share of the votes",
            axis=alt.Axis(format="%", tickCount=4),
            scale=alt.Scale(domain=[0, 1.2 * max(table["share"])]),
        ),
        y=rows_of(table, "member"),
        tooltip=[alt.Tooltip("member", title="Member"), alt.Tooltip("share", format=".1%", title="Share")],
    )
    bars = base.mark_bar(cornerRadiusEnd=4).encode(color=coloured(table, "member", members))
    labels = base.mark_text(align="left", dx=5, color=GREY).encode(text=alt.Text("share:Q", format=".1%"))
    return titled(alt.layer(bars, labels).properties(height=alt.Step(ROW)), "Shares", "Weights divided by their sum.")


def class_changes(changes: pl.DataFrame, other: str) -> Chart:
    """Change of AP per class. Table: class_id, positives, ap, other, change."""
    table = changes.with_columns(pl.col("class_id").cast(pl.String))
    chart = (
        alt.Chart(without_minus_zero(table))
        .mark_bar(cornerRadiusEnd=3)
        .encode(
            x=alt.X("change:Q", title=f"AP minus AP of {other}", axis=alt.Axis(format="+.3f", tickCount=5)),
            y=rows_of(table, "class_id").title("Class"),
            color=alt.condition("datum.change >= 0", alt.value(SKY), alt.value(ORANGE)),
            tooltip=[
                alt.Tooltip("class_id", title="Class"),
                alt.Tooltip("positives", title="Positives"),
                alt.Tooltip("ap", format=".4f", title="AP"),
                alt.Tooltip("other", format=".4f", title=f"AP, {other}"),
                alt.Tooltip("change", format="+.4f", title="Change"),
            ],
        )
        .properties(height=alt.Step(18))
    )
    return titled(
        alt.layer(chart),
        "Classes that change most",
        "Blue, to the right: better than the other weights; orange: worse.",
    )


def rows_of(table: pl.DataFrame, field: str) -> alt.Y:
    """One row per name, in the order of the table."""
    axis = alt.Axis(labelLimit=200, labelFontSize=12, labelOverlap=False, ticks=False, domain=False)
    return alt.Y(f"{field}:N", sort=table[field].unique(maintain_order=True).to_list(), title=None, axis=axis)


def coloured(table: pl.DataFrame, field: str, members: Iterable[str], legend: alt.Legend | None = None) -> alt.Color:
    """The members in the column `field` in the colours of the line-up."""
    colours = {name: colour for name, colour in member_colours(members).items() if name in table[field]}
    return alt.Color(f"{field}:N", scale=alt.Scale(domain=list(colours), range=list(colours.values())), legend=legend)


def weights_beside(table: pl.DataFrame, members: Iterable[str]) -> Chart:
    """Weights of several sources. Table: member, source, weight."""
    sources = table["source"].unique(maintain_order=True).to_list()
    scale = alt.Scale(domain=sources, range=["circle", "diamond", "square", "triangle-up"][: len(sources)])
    base = alt.Chart(table).encode(
        x=alt.X("weight:Q", title="Share of the votes", axis=alt.Axis(format="%", tickCount=5)),
        y=rows_of(table, "member"),
    )
    line = base.mark_line(color=GREY, opacity=0.4).encode(detail="member:N")
    points = base.mark_point(size=120, filled=True, opacity=0.9).encode(
        color=coloured(table, "member", members),
        shape=alt.Shape(
            "source:N",
            scale=scale,
            legend=alt.Legend(
                title=None, orient="top", labelLimit=300, columns=1, symbolFillColor=GREY, symbolStrokeColor=GREY
            ),
        ),
        tooltip=[
            alt.Tooltip("member", title="Member"),
            alt.Tooltip("source", title="Weights of"),
            alt.Tooltip("weight", format=".1%", title="Share"),
        ],
    )
    chart = alt.layer(line, points).properties(height=alt.Step(ROW + 4))
    return titled(
        chart, "Weights", "The share of each member in the fusion; a far point is a member that searches disagree on."
    )


def left_out(lost: Mapping[str, float], members: Iterable[str]) -> Chart:
    """MAP lost without each member, the largest first."""
    rows = sorted(lost.items(), key=lambda item: (-item[1], item[0]))
    table = pl.DataFrame(rows, {"member": pl.String, "lost": pl.Float64}, orient="row")
    base = alt.Chart(without_minus_zero(table)).encode(
        x=alt.X("lost:Q", title="MAP lost without it", axis=alt.Axis(format="+.4f", tickCount=4)),
        y=rows_of(table, "member"),
        tooltip=[
            alt.Tooltip("member", title="Member"),
            alt.Tooltip("lost", format="+.4f", title="MAP lost without it"),
        ],
    )
    bars = base.mark_bar(cornerRadiusEnd=4).encode(color=coloured(table, "member", members))
    return titled(
        alt.layer(bars).properties(height=alt.Step(ROW)),
        "Leave one out",
        "The other members keep their ratios. At 0 or less a member is not needed on these judgments.",
    )


def similarity(table: pl.DataFrame, order: list[str], value: str, about: str) -> Chart:
    """Similarity of each two members. Table: member, other, and the column `value`."""
    table = table.select("member", "other", alike=value)
    size = max(22, min(48, 480 // max(len(order), 1)))
    base = alt.Chart(table).encode(
        x=alt.X("other:N", sort=order, title=None, axis=alt.Axis(labelAngle=-40, labelLimit=150, ticks=False)),
        y=alt.Y("member:N", sort=order, title=None, axis=alt.Axis(labelLimit=170, ticks=False)),
        tooltip=[
            alt.Tooltip("member", title="Member"),
            alt.Tooltip("other", title="Other"),
            alt.Tooltip("alike", format=".3f", title="Similarity"),
        ],
    )
    cells = base.mark_rect(cornerRadius=3).encode(
        color=alt.Color(
            "alike:Q",
            scale=alt.Scale(domain=[0, 1], range=["#E4E4E4", BLUE], clamp=True),
            legend=None,
        )
    )
    numbers = base.mark_text(fontSize=11).encode(
        text=alt.Text("alike:Q", format=".2f"),
        color=alt.condition("datum.alike > 0.9", alt.value("#FFFFFF"), alt.value("#111111")),
    )
    chart = alt.layer(cells, numbers).properties(height=alt.Step(size))
    return titled(chart, "Similarity of members", about)


def greedy(table: pl.DataFrame, members: Iterable[str]) -> Chart:
    """Greedy selection. Table: step, member, map, gain, share."""
    scale = close_scale(table["map"])
    base = alt.Chart(without_minus_zero(table)).encode(
        x=alt.X("step:Q", title="Step", axis=alt.Axis(format="d", tickMinStep=1)),
        y=alt.Y("map:Q", title="MAP@100K on the holdout", scale=scale, axis=alt.Axis(format=".3f", tickCount=5)),
    )
    line = base.mark_line(color=GREY, interpolate="step-after", opacity=0.6)
    points = base.mark_point(size=110, filled=True, opacity=1).encode(
        color=coloured(table, "member", members, alt.Legend(title=None, orient="bottom", columns=2, labelLimit=150)),
        tooltip=[
            alt.Tooltip("step", title="Step"),
            alt.Tooltip("member", title="Adds"),
            alt.Tooltip("map", format=".4f", title="MAP"),
            alt.Tooltip("gain", format="+.4f", title="Gain"),
            alt.Tooltip("share", format=".0%", title="Its share then"),
        ],
    )
    about = "From the best member on, each step adds the member that raises MAP most; one may come again."
    return titled(alt.layer(line, points).properties(height=440), "Who comes in when", about)


def searches(trials: pl.DataFrame) -> Chart:
    """MAP per trial and the best so far, of one or more searches. Table: search, trial, map, best."""
    names = trials["search"].unique(maintain_order=True).to_list()
    colour = alt.Color(
        "search:N",
        scale=alt.Scale(domain=names, range=[BLUE, ORANGE, SKY][: len(names)]),
        legend=alt.Legend(title=None, orient="top", labelLimit=400, columns=1),
    )
    across = alt.Scale(nice=False, zero=False, padding=8)
    base = alt.Chart(trials).encode(
        x=alt.X("trial:Q", title="Trial", axis=alt.Axis(format="d", tickMinStep=1), scale=across), color=colour
    )
    axis = alt.Axis(format=".3f", tickCount=5)
    scale = close_scale(trials["map"])
    points = base.mark_point(size=40, filled=True, opacity=0.6).encode(
        y=alt.Y("map:Q", title="MAP@100K on the holdout", scale=scale, axis=axis),
        shape=alt.Shape("search:N", legend=None),
        tooltip=[
            alt.Tooltip("search", title="Search"),
            alt.Tooltip("trial", title="Trial"),
            alt.Tooltip("map", format=".4f", title="MAP"),
            alt.Tooltip("best", format=".4f", title="Best so far"),
        ],
    )
    best = base.mark_line(strokeWidth=2.5, interpolate="step-after").encode(y=alt.Y("best:Q", scale=scale, axis=axis))
    about = "Each dot is a trial; the line is the best so far. A line that is flat for long has converged."
    return titled(alt.layer(best, points).properties(height=440), "The search", about)


def along_weights(table: pl.DataFrame, members: Iterable[str]) -> Chart:
    """MAP along each weight. Table: member, share, map."""
    chart = (
        alt.Chart(table)
        .mark_line(strokeWidth=2.5)
        .encode(
            x=alt.X("share:Q", title="Share of this member", axis=alt.Axis(format="%", tickCount=5)),
            y=alt.Y(
                "map:Q",
                title="MAP@100K on the holdout",
                scale=close_scale(table["map"]),
                axis=alt.Axis(format=".3f", tickCount=5),
            ),
            color=coloured(
                table, "member", members, alt.Legend(title=None, orient="bottom", columns=2, labelLimit=150)
            ),
            tooltip=[
                alt.Tooltip("member", title="Member"),
                alt.Tooltip("share", format=".0%", title="Share"),
                alt.Tooltip("map", format=".4f", title="MAP"),
            ],
        )
        .properties(height=440)
    )
    about = "One weight changes and the others keep their ratios. A flat top: the exact weight hardly matters."
    return titled(alt.layer(chart), "MAP along each weight", about)


def close_scale(values: pl.Series) -> alt.Scale:
    """A scale close around the values, not from 0: points encode by position, not by length."""
    low, high = min(values), max(values)
    margin = max((high - low) * 0.08, 0.002)
    return alt.Scale(domain=[max(low - margin, 0.0), min(high + margin, 1.0)], nice=False, zero=False)


def oracles(table: pl.DataFrame) -> Chart:
    """Gain of MAP under each oracle. Table: oracle, map, gain, errors."""
    base = alt.Chart(without_minus_zero(table)).encode(
        x=alt.X(
            "gain:Q",
            title="MAP gained if this never happened",
            axis=alt.Axis(format="+.3f", tickCount=5),
            scale=alt.Scale(domain=[0, max(1.25 * max(table["gain"]), 0.001)]),
        ),
        y=rows_of(table, "oracle"),
        tooltip=[
            alt.Tooltip("oracle", title="Error"),
            alt.Tooltip("gain", format="+.4f", title="Gain"),
            alt.Tooltip("map", format=".4f", title="MAP then"),
            alt.Tooltip("errors", format=",", title="Judged pairs"),
        ],
    )
    bars = base.mark_bar(cornerRadiusEnd=4, color=ORANGE)
    labels = base.mark_text(align="left", dx=5, color=GREY).encode(text=alt.Text("gain:Q", format="+.4f"))
    chart = alt.layer(bars, labels).properties(height=alt.Step(44))
    return titled(chart, "Errors", "Longer: more to win by curing this kind of error alone.")


def trait(table: pl.DataFrame) -> Chart:
    """Mean precision at positives by one trait. Table: trait, bin, positives, precision."""
    base = alt.Chart(table).encode(
        x=alt.X("precision:Q", title="Mean precision", scale=alt.Scale(domain=[0, 1.1]), axis=alt.Axis(tickCount=5)),
        y=rows_of(table, "bin"),
        tooltip=[
            alt.Tooltip("bin", title=table["trait"][0].capitalize()),
            alt.Tooltip("positives", format=",", title="Positives"),
            alt.Tooltip("precision", format=".4f", title="Mean precision"),
        ],
    )
    bars = base.mark_bar(cornerRadiusEnd=4, color=SKY)
    labels = base.mark_text(align="left", dx=4, fontSize=11, color=GREY).encode(
        text=alt.Text("positives:Q", format=",")
    )
    chart = alt.layer(bars, labels).properties(height=alt.Step(22))
    about = "Longer is better; the number is how many positives there are."
    return titled(chart, f"Found, by {table['trait'][0]}", about)
