"""The best K segments of every class, in any order of the scores."""

import numpy as np
import polars as pl
import pytest

from scoring.lists.ranking import rank_scores
from scoring.lists.top_segments import TopSegments


@pytest.mark.parametrize("keep", [1, 7, 100, 1000])
@pytest.mark.parametrize("block", [3, 64])
def test_streaming_equals_sorting_everything(keep: int, block: int) -> None:
    rng = np.random.default_rng(0)
    # Few distinct values, of both signs: ties everywhere.
    scores = (rng.integers(-5, 6, size=(500, 4)) / 7).astype(np.float32)
    segments = pl.Series([f"v{i:03}:0" for i in range(500)])
    top = TopSegments([2, 5, 7, 9], segments, keep, block)
    for first in range(0, 500, 37):
        top.add(first, scores[first : first + 37])
    streamed = top.submission()
    expected = rank_scores(scores, [2, 5, 7, 9], segments, keep)
    assert streamed.lists.equals(expected.lists)
    assert streamed.segments.equals(expected.segments)


def test_scores_come_back_unchanged() -> None:
    scores = np.array([[0.1], [-3.5], [1e-30], [0.99999994]], dtype=np.float32)
    top = TopSegments([1], pl.Series(["a:0", "b:0", "c:0", "d:0"]), cutoff=10)
    top.add(0, scores)
    lists = top.submission().lists
    assert lists["segments"][0].to_list() == [3, 0, 2, 1]
    assert np.array_equal(lists["scores"][0].to_numpy(), scores[[3, 0, 2, 1], 0])
