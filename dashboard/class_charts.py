"""Charts of classes, learning curves and segments; as in `dashboard.charts`, each takes a table and returns a chart."""

import altair as alt
import polars as pl

from dashboard.charts import BLUE, GREEN, GREY, ORANGE, RED, SKY, Chart, titled
from dashboard.tables import without_minus_zero

JUDGED = {"yes": GREEN, "no": RED}
TOP = alt.Legend(orient="top")
STAGES = {"pre-training": SKY, "fine-tuning": BLUE}
HEIGHT = 340  # pixels, with title, legend and axes
# Ticks of a logarithmic axis, of which Vega draws those in the domain: its own are uneven, or one in a narrow domain.
LOG_TICKS = sorted({round(digit * 10**power) for power in range(7) for digit in (1, 1.5, 2, 3, 5, 7)})


def learning(curves: pl.DataFrame, measure: str, *, chosen: int | None) -> Chart:
    """A measure over the steps of training; `chosen` is the step kept. Table: stage, measure, step, value."""
    curve = curves.filter(pl.col("measure") == measure)
    stages = [stage for stage in STAGES if stage in curve["stage"]]
    # A loss falls by powers of ten within a few steps.
    is_log = measure == "loss" and curve.filter(pl.col("value") <= 0).is_empty()
    scale = alt.Scale(type="log") if is_log else alt.Scale(zero=False)
    colour = alt.Scale(domain=stages, range=[STAGES[stage] for stage in stages])
    base = alt.Chart(curve).encode(
        x=alt.X("step:Q", title="Step", axis=alt.Axis(format="~s")),
        y=alt.Y("value:Q", title=measure, scale=scale, axis=alt.Axis(format="~g")),
        color=alt.Color("stage:N", scale=colour, legend=alt.Legend(title=None, orient="top")),
        tooltip=[
            alt.Tooltip("stage", title="Stage"),
            alt.Tooltip("step", title="Step", format=","),
            alt.Tooltip("value", title=measure, format=".4f"),
        ],
    )
    layers: list[alt.Chart] = [base.mark_line(strokeWidth=2), base.mark_point(filled=True, size=30)]
    if chosen is not None:
        rule = alt.Chart(pl.DataFrame({"step": [chosen], "label": ["kept"]})).encode(x="step:Q")
        layers += [
            rule.mark_rule(color=GREEN, strokeDash=[5, 4]),
            rule.mark_text(align="left", dx=4, color=GREEN, y=8).encode(text="label"),
        ]
    better = "lower" if measure == "loss" else "higher"
    about = f"Over the steps of both stages; {better} is better."
    return titled(alt.layer(*layers).properties(height=HEIGHT), f"Learning: {measure}", about)


def shifts(scores: pl.DataFrame) -> Chart:
    """MAP of one member per shift, and merged. Table: shift, order, map, change."""
    order = scores.sort("order")["shift"].to_list()
    values = scores["map"]
    low, high = min(values), max(values)
    margin = max((high - low) * 0.15, 0.002)
    base = alt.Chart(without_minus_zero(scores)).encode(
        x=alt.X("shift:N", sort=order, title="Shift in frames", axis=alt.Axis(labelAngle=0)),
        y=alt.Y(
            "map:Q",
            title="MAP@100K on the holdout",
            scale=alt.Scale(domain=[max(low - margin, 0), min(high + margin, 1)], nice=False, zero=False),
        ),
        tooltip=[
            alt.Tooltip("shift", title="Shift"),
            alt.Tooltip("map", title="MAP", format=".4f"),
            alt.Tooltip("change", title="Against no shift", format="+.4f"),
        ],
    )
    colour = alt.condition(alt.datum.shift == "merged", alt.value(RED), alt.value(BLUE))
    points = base.mark_point(filled=True, size=160, opacity=1).encode(color=colour)
    numbers = base.mark_text(dy=-16, color=GREY, fontSize=12).encode(text=alt.Text("map:Q", format=".4f"))
    about = "Merged: the ranked lists under all shifts fused into one. Higher is better."
    return titled(alt.layer(points, numbers).properties(height=HEIGHT), "Shift by shift", about)


def positives(classes: pl.DataFrame, colour: str) -> Chart:
    """AP of each class against its number of positives. Table: class_id, ap, positives."""
    points = alt.Chart(classes.with_columns(pl.col("class_id").cast(pl.String))).mark_point(
        filled=True, size=60, opacity=0.6, color=colour
    )
    chart = points.encode(
        x=alt.X(
            "positives:Q",
            title="Positives of the class in the holdout",
            scale=alt.Scale(type="log", nice=False, padding=12),
            axis=alt.Axis(format=",d", values=LOG_TICKS, labelOverlap=True),
        ),
        y=alt.Y("ap:Q", title="AP@100K", scale=alt.Scale(domain=[0, 1])),
        tooltip=[
            alt.Tooltip("class_id", title="Class"),
            alt.Tooltip("ap", title="AP", format=".4f"),
            alt.Tooltip("positives", title="Positives"),
        ],
    )
    about = "One dot per class; higher is better. With few positives an AP is mostly chance."
    return titled(alt.layer(chart).properties(height=HEIGHT), "Classes by number of positives", about)


def against(classes: pl.DataFrame, one: str, other: str, marked: str) -> Chart:
    """AP of each class under two subjects. Table: class_id, one, other, change, positives; `marked` is a class."""
    table = classes.with_columns(pl.col("class_id").cast(pl.String))
    table = table.with_columns(is_marked=pl.col("class_id") == marked)
    base = alt.Chart(without_minus_zero(table)).encode(
        x=alt.X("one:Q", title=f"AP of {one}", scale=alt.Scale(domain=[0, 1])),
        y=alt.Y("other:Q", title=f"AP of {other}", scale=alt.Scale(domain=[0, 1])),
        tooltip=[
            alt.Tooltip("class_id", title="Class"),
            alt.Tooltip("one", title=one, format=".4f"),
            alt.Tooltip("other", title=other, format=".4f"),
            alt.Tooltip("change", title="Difference", format="+.4f"),
            alt.Tooltip("positives", title="Positives"),
        ],
    )
    points = base.mark_point(filled=True, opacity=0.65).encode(
        size=alt.Size(
            "positives:Q", title="Positives", scale=alt.Scale(range=[30, 400]), legend=alt.Legend(orient="top")
        ),
        color=alt.condition(alt.datum.is_marked, alt.value(RED), alt.value(BLUE)),
    )
    line = alt.Chart(pl.DataFrame({"one": [0.0, 1.0], "other": [0.0, 1.0]})).mark_line(color=GREY, strokeDash=[4, 4])
    diagonal = line.encode(x="one:Q", y="other:Q")
    about = f"One dot per class, sized by its positives. Above the line {other} is better, below it {one}."
    return titled(alt.layer(diagonal, points).properties(height=460), "Class by class", about)


def timeline(scores: pl.DataFrame, rated: pl.DataFrame, member: str) -> Chart:
    """The segments of a video in a member's lists, per shift, with the ratings at the bottom.

    Tables: shift, start, rank, score; start, judged.
    """
    shifts = sorted(scores["shift"].unique())
    names = [_shift(shift) for shift in shifts]
    colours = [_shift_colour(shift) for shift in shifts]
    table = scores.with_columns(
        shift=pl.col("shift").replace_strict(dict(zip(shifts, names, strict=True)), return_dtype=pl.String)
    )
    x = alt.X("start:Q", title="Start of the segment in frames", axis=alt.Axis(format="d"))
    lines = alt.Chart(table).encode(
        x=x,
        y=alt.Y(
            "rank:Q",
            title="Rank",
            scale=alt.Scale(type="log", reverse=True, nice=False, padding=20),
            axis=alt.Axis(format="~s", values=LOG_TICKS, labelOverlap=True),
        ),
        color=alt.Color("shift:N", scale=alt.Scale(domain=names, range=colours), sort=names, title="Shift", legend=TOP),
        tooltip=[
            alt.Tooltip("shift", title="Shift"),
            alt.Tooltip("start", title="Start"),
            alt.Tooltip("rank", title="Rank"),
            alt.Tooltip("score", title="Score", format=".4f"),
        ],
    )
    layers: list[alt.Chart] = [lines.mark_line(strokeWidth=2), lines.mark_point(filled=True, size=35)]
    if not rated.is_empty():
        words = rated.with_columns(text=pl.when(pl.col("judged") == "yes").then(pl.lit("✓")).otherwise(pl.lit("✗")))
        marks = alt.Chart(words).encode(
            x=x,
            y=alt.value(alt.ExprRef("height - 10")),
            text="text:N",
            tooltip=[alt.Tooltip("judged", title="The class occurs")],
        )
        for value, colour in JUDGED.items():
            layers.append(
                marks.transform_filter(alt.datum.judged == value).mark_text(
                    color=colour, fontSize=16, fontWeight="bold"
                )
            )
    about = "Higher is ranked better. ✓ the class occurs, ✗ it does not, none: unjudged."
    return titled(alt.layer(*layers).properties(height=HEIGHT), member, about)


def _shift(shift: int) -> str:
    return "0" if shift == 0 else f"{shift:+d}".replace("-", "−")


def _shift_colour(shift: int) -> str:
    """Blue for shifts to one side, orange to the other, grey for none."""
    if shift == 0:
        return GREY
    near, far = (SKY, BLUE) if shift > 0 else (ORANGE, RED)
    return near if abs(shift) == 1 else far
