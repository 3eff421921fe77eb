"""Small submissions and judgments, written as plain Python, for the tests of scoring."""

from collections.abc import Mapping, Sequence

import polars as pl
from hypothesis import strategies as st

from scoring.judgments import JUDGMENTS
from scoring.ranked import Submission, from_ids

Lists = dict[int, list[str]]


def submission_of(lists: Mapping[int, Sequence[str]]) -> Submission:
    return from_ids({class_id: pl.Series(list(ids), dtype=pl.String) for class_id, ids in lists.items()})


def ids_of(submission: Submission) -> Lists:
    return {class_id: submission.segments.gather(codes).to_list() for class_id, codes in submission.ranked()}


def judgments_of(relevance: Mapping[tuple[int, str], int]) -> pl.DataFrame:
    rows = [(class_id, segment_id, value) for (class_id, segment_id), value in relevance.items()]
    return pl.DataFrame(rows, JUDGMENTS, orient="row")


segment_ids = st.from_regex(r"[a-dZé]{1,2}:[0-3]", fullmatch=True)
class_ids = st.integers(0, 3)
lists = st.dictionaries(class_ids, st.lists(segment_ids, max_size=10, unique=True), min_size=1, max_size=4)
judged = st.dictionaries(st.tuples(class_ids, segment_ids), st.integers(-1, 2), max_size=30)
