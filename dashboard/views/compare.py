"""The page that compares two members, or a member and the ensemble: classes, and both lists of a class."""

from statistics import mean

import polars as pl
import streamlit as st

from dashboard import class_charts, contrast, data
from dashboard.chosen import line_up
from dashboard.class_names import named
from dashboard.evidence import Evidence, evidence_for_page
from dashboard.parts import plain, show_chart, show_table
from dashboard.tables import signed
from dashboard.top_lists import first_segments

LENGTHS = (10, 20, 50, 100)


def show(lineup: data.LineUp) -> None:
    st.title("Compare")
    st.caption("Two members, or a member and the ensemble, class by class and segment by segment, on the holdout.")
    measured = evidence_for_page(lineup)
    if measured is None:
        return
    subjects = [contrast.FUSED, *measured.ordered(lineup)]
    if len(subjects) < 2:
        st.info("The line-up has no member whose ranks were logged, so there is nothing to compare.")
        return
    left, right = st.columns(2)
    with left:
        one = st.selectbox("A", subjects, 1, key="a", bind="query-params")
    with right:
        other = st.selectbox("B", subjects, 0, key="b", bind="query-params")
    if one == other:
        st.info("Choose two different ones.")
        return
    classes = contrast.contrast(measured.pairs, one, other)
    changes: list[float] = classes["change"].to_list()
    better, worse = sum(change > 0 for change in changes), sum(change < 0 for change in changes)
    st.caption(
        f"**{plain(other)}** minus **{plain(one)}**: {signed(mean(changes))} MAP; better in "
        f"{better} classes, worse in {worse}, equal in {len(changes) - better - worse}."
    )
    _classes(lineup, measured, classes, one, other)


def _classes(lineup: data.LineUp, measured: Evidence, classes: pl.DataFrame, one: str, other: str) -> None:
    table = named(classes, measured.labels)
    left, right = st.columns(2, gap="medium")
    with right:
        st.subheader("Classes by contrast")
        show_table(
            table,
            {
                "class_id": "Class",
                "one": st.column_config.NumberColumn(f"AP of {one}", format="%.4f"),
                "other": st.column_config.NumberColumn(f"AP of {other}", format="%.4f"),
                "change": st.column_config.NumberColumn("Difference", format="%+.4f"),
                "positives": "Positives",
            },
            name="classes",
            alt="AP of each class, the greatest difference first",
            height=400,
        )
    names = table["class_id"].to_list()
    chosen = st.selectbox("Class, the greatest difference first", names, key="class", bind="query-params") or names[0]
    class_id = classes["class_id"][names.index(chosen)]
    with left:
        show_chart(class_charts.against(table, one, other, chosen), alt="AP of each class under both")
    length = st.select_slider("First segments of each", LENGTHS, 20, key="first", bind="query-params")
    top = first_segments(lineup, class_id)
    if isinstance(top, str):
        st.info(plain(top), icon=":material/info:")
        return
    pairs = contrast.of_class(measured.pairs, class_id)
    show_table(
        contrast.moves(top, pairs, one, other, length=length),
        {
            "segment_id": "Segment",
            "judged": "The class occurs",
            "one": f"Rank in {one}",
            "other": f"Rank in {other}",
            "moved": st.column_config.NumberColumn("Moved up by", format="%+d"),
        },
        name="segments",
        alt="The first segments of both lists with their judgments",
        placeholder="beyond",
    )
    st.caption("In the order of B. Beyond: past the first 1,000 of that list, and not judged.")


if __name__ == "__main__":
    show(line_up())
