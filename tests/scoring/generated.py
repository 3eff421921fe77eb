"""Small submissions and judgments, written as plain Python, sound and faulty, for the tests of scoring."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from hypothesis import strategies as st

from scoring.lists.ids import check_segments, code_ids
from scoring.lists.ranked import ClassId, Repeats, Submission, from_repeating
from videos.judgments import JUDGMENTS

Lists = dict[ClassId, list[str]]


def submission_of(lists: Mapping[int, Sequence[str] | np.ndarray]) -> Submission:
    codes, segments = code_ids([pl.Series(list(ids), dtype=pl.String) for ids in lists.values()])
    check_segments(segments.head(1), "the lists")
    return from_repeating(dict(zip(lists, codes, strict=True)), segments, Repeats("the lists"))


def ids_of(submission: Submission) -> Lists:
    return {class_id: submission.segments.gather(codes).to_list() for class_id, codes in submission.ranked()}


def judgments_of(relevance: Mapping[tuple[int, str], int]) -> pl.DataFrame:
    rows = [(class_id, segment_id, value) for (class_id, segment_id), value in relevance.items()]
    return pl.DataFrame(rows, JUDGMENTS, orient="row")


def long_form(**columns: list) -> pl.DataFrame:
    """Two segments of class 1 in long form, but for these columns."""
    rows = {"class_id": [1, 1], "segment_id": ["a:0", "b:0"], "rank": [1, 2]} | columns
    return pl.DataFrame(rows)


def coded(
    codes=((1, 0), (2,)), segments=("a:0", "b:0", "c:0"), classes=(1, 2), scores=None, without=""
) -> Callable[[Path], None]:
    """Writes a folder of coded lists, with the faults asked for."""

    def write(folder: Path) -> None:
        folder.mkdir()
        columns = {
            "class_id": pl.Series(classes, dtype=pl.UInt16),
            "segments": pl.Series(list(codes), dtype=pl.List(pl.UInt32)),
        }
        if scores is not None:
            columns["scores"] = pl.Series(scores, dtype=pl.List(pl.Float32))
        pl.DataFrame(columns).write_parquet(folder / "lists.parquet")
        pl.DataFrame({"segment_id": list(segments)}).write_parquet(folder / "segments.parquet")
        if without:
            (folder / without).unlink()

    return write


# So few that what is listed and what is judged meet.
segment_ids = st.sampled_from([f"{video}:{start}" for video in ("a", "Z", "é", "ab") for start in range(3)])
class_ids = st.integers(0, 3)
lists = st.dictionaries(class_ids, st.lists(segment_ids, max_size=10, unique=True), min_size=1, max_size=4)
judged = st.dictionaries(st.tuples(class_ids, segment_ids), st.integers(0, 2), max_size=30)
