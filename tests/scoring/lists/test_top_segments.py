"""The best K segments of every class, in any order of the scores."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from scoring.lists.ranking import rank_scores
from scoring.lists.top_segments import CLASSES, TopSegments


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


def test_what_was_saved_is_resumed(tmp_path: Path) -> None:
    """With more classes than are in one group, not in ascending order."""
    rng = np.random.default_rng(0)
    class_ids = rng.permutation(2 * CLASSES + 5).tolist()
    scores = rng.normal(size=(60, len(class_ids))).astype(np.float32)
    segments = pl.Series([f"v{i:03}:0" for i in range(60)])
    interrupted, resumed = (TopSegments(class_ids, segments, 20, block=16) for _ in range(2))
    interrupted.add(0, scores[:33])
    interrupted.save(tmp_path / "kept.npy")
    assert np.load(tmp_path / "kept.npy").shape[0] == len(class_ids)
    resumed.resume(tmp_path / "kept.npy")
    resumed.add(33, scores[33:])
    assert resumed.submission().lists.equals(rank_scores(scores, class_ids, segments, 20).lists)


def test_scores_come_back_unchanged() -> None:
    scores = np.array([[0.1], [-3.5], [1e-30], [0.99999994]], dtype=np.float32)
    top = TopSegments([1], pl.Series(["a:0", "b:0", "c:0", "d:0"]), cutoff=10)
    top.add(0, scores)
    lists = top.submission().lists
    assert lists["segments"][0].to_list() == [3, 0, 2, 1]
    assert np.array_equal(lists["scores"][0].to_numpy(), scores[[3, 0, 2, 1], 0])
