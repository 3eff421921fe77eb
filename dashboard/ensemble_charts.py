"""The charts about weights, searches and lost MAP, for light and dark pages."""

import textwrap
from collections.abc import Iterable, Mapping

import altair as alt
import polars as pl

from dashboard.charts import GREY, ORANGE, SKY, Chart, member_colours

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
        alt.Chart(table)
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


def titled(chart: Chart, title: str, about: str) -> Chart:
    """The chart with its title, and below that what is shown and what is good."""
    subtitle = textwrap.wrap(about, 76)
    return chart.properties(title=alt.TitleParams(title, subtitle=subtitle, anchor="start", fontSize=15, offset=10))
