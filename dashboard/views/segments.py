"""The page of segments: the first ones of a class in every list, and a video on a time axis."""

import polars as pl
import streamlit as st

from dashboard import class_charts, contrast, data, timeline
from dashboard.chosen import line_up
from dashboard.class_names import label
from dashboard.evidence import Evidence, evidence_for_page
from dashboard.parts import plain, show_chart, show_table
from dashboard.top_lists import first_segments

LENGTHS = (10, 20, 50, 100)


def show(lineup: data.LineUp) -> None:
    st.title("Segments")
    st.caption("What each member finds for a class, and when it happens in a video. Lists and ratings of the holdout.")
    measured = evidence_for_page(lineup)
    if measured is None:
        return
    ids = measured.pairs["class_id"].unique().sort()
    names = [label(measured.labels, class_id) for class_id in ids]
    members = measured.ordered(lineup)
    left, right = st.columns(2)
    with left:
        chosen = st.selectbox("Class", names, key="class", bind="query-params")
    with right:
        length = st.select_slider("First segments of each list", LENGTHS, key="first", bind="query-params")
    picked = st.multiselect("Members, best first", members, members[:4], key="members", bind="query-params")
    class_id = ids[names.index(chosen)]
    _lists(lineup, measured, class_id, picked, length)
    _timeline(lineup, measured, class_id, picked)


def _lists(lineup: data.LineUp, measured: Evidence, class_id: int | str, picked: list[str], length: int) -> None:
    st.subheader("First segments")
    top = first_segments(lineup, class_id)
    if isinstance(top, str):
        st.info(plain(top), icon=":material/info:")
        return
    pairs = contrast.of_class(measured.pairs, class_id)
    table = contrast.side_by_side(top.filter(pl.col("member").is_in([contrast.FUSED, *picked])), pairs, length=length)
    show_table(
        table,
        {"rank": "Rank"},
        name="segments",
        alt="The first segments of each list, judged ones marked",
        placeholder="",
    )
    st.caption(
        "✓ the class occurs, ✗ it does not, unmarked: unjudged. The ensemble's list is fused here from the members' "
        "first 1,000 segments, so far down its order can differ from that of the submission."
    )


def _timeline(lineup: data.LineUp, measured: Evidence, class_id: int | str, picked: list[str]) -> None:
    st.subheader("A video in time")
    st.caption(
        "The rank of each segment of one video under each shift of the window, with the ratings. Shifts help where the "
        "curves of a member disagree around a ✓: fused, they find it more surely than one of them."
    )
    videos = timeline.videos(measured.pairs, class_id)
    video = st.selectbox("Video, most positives first", videos, key="video", bind="query-params")
    inferred = {member.name: data.finished(member.stages, "infer", "holdout") for member in lineup.members}
    runs = {name: run for name in picked if (run := inferred.get(name)) is not None}
    try:
        scores = timeline.shift_scores(runs, class_id=class_id, video=video)
    except (ValueError, OSError, pl.exceptions.PolarsError) as problem:
        st.info(f"The shifts cannot be shown: {plain(str(problem))}.", icon=":material/info:")
        return
    rated = timeline.ratings(measured.pairs, class_id=class_id, video=video)
    for first in range(0, len(runs), 2):
        for place, name in zip(st.columns(2, gap="medium"), list(runs)[first : first + 2], strict=False):
            member_scores = scores.filter(pl.col("member") == name)
            with place:
                if member_scores.is_empty():
                    st.info(f"{plain(name)} lists no segment of this video.")
                else:
                    show_chart(
                        class_charts.timeline(member_scores, rated, name), alt=f"Ranks of {name} in the video over time"
                    )


if __name__ == "__main__":
    show(line_up())
