"""What is peculiar to members in Keras."""

from dataclasses import replace

import numpy as np
import pytest

from training.job import Job
from training.members import member_of
from training.windows.clips import StoredFrames
from training.windows.segments import Windows
from videos.store import FrameStore


def test_weighted_frames_are_refused() -> None:
    member = member_of("paper", "gated-netvlad")
    with pytest.raises(ValueError, match="gated-netvlad trains differently on weighted frames"):
        replace(member, sampler=replace(member.sampler, frames=60, weighted=True))


def test_predicting_blocks_of_any_size_traces_no_graph_anew(tiny: FrameStore) -> None:
    """Tracing takes longer than predicting, and TensorFlow warns people of it."""
    estimator = Job(lineup="paper", member=member_of("paper", "gated-netvlad"), store=tiny).estimator()
    predictor = estimator.predictor(np.asarray(tiny.dataset.scored_classes))
    rng = np.random.default_rng(0)
    for count in (7, 300, 31, 520, 90):
        frames = StoredFrames(rng.integers(256, size=(3 * count, tiny.dataset.width), dtype=np.uint8))
        predictor(Windows(frames, rng.integers(3 * count, size=(count, 5)), np.ones((count, 5), np.float32)))
    assert estimator._encode.experimental_get_tracing_count() == 1  # pyright: ignore[reportAttributeAccessIssue]
    assert estimator._score.experimental_get_tracing_count() <= 2  # pyright: ignore[reportAttributeAccessIssue]
