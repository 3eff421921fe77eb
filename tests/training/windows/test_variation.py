"""Windows of rated segments that are shifted, diluted or enlarged in fine-tuning."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from training.member import Schedule
from training.members import member_of
from training.windows.clips import LEVELS
from training.windows.examples import SegmentExamples
from training.windows.sampler import PADDING, Sampler
from training.windows.segments import at_edges
from training.windows.variation import vary
from videos.dataset import Dataset
from videos.store import FrameStore

START, TIMES = 20, 3000
CONTEXT = Sampler("sequence", surroundings=2, video_frames=4)


def patterns(length: int, share: float = 1.0) -> Counter[tuple[int, ...]]:
    """How often a window has which rows, counted from the start of its segment."""
    rows, _ = vary(np.full(TIMES, START), length, share, np.random.default_rng(0))
    return Counter(map(tuple, (rows - START).tolist()))


def test_a_window_is_shifted_diluted_or_enlarged() -> None:
    counts = patterns(5)
    shifted = [tuple(range(shift, shift + 5)) for shift in (-2, -1, 1, 2)]
    diluted = (-2, 0, 2, 4, 6)
    for pattern in shifted:
        assert counts[pattern] == pytest.approx(TIMES / 12, rel=0.2)
    assert counts[diluted] == pytest.approx(TIMES / 3, rel=0.1)
    enlarged = [pattern for pattern in counts if pattern not in (*shifted, diluted)]
    assert len(enlarged) > 200
    assert all(sorted(set(pattern)) == list(pattern) for pattern in enlarged)
    assert {min(pattern) for pattern in enlarged} >= {-3, -2}
    assert {row for pattern in enlarged for row in pattern} == set(range(-3, 8))  # 10 frames and the odd one


def test_an_even_segment_is_diluted_to_either_side() -> None:
    counts = patterns(2)
    assert counts[0, 2] > TIMES / 7
    assert counts[-1, 1] > TIMES / 7
    assert {row for pattern in counts for row in pattern} == {-2, -1, 0, 1, 2, 3}


def test_windows_are_varied_with_the_given_probability_and_surroundings_follow_a_shift() -> None:
    assert patterns(5, share=0.0) == {(0, 1, 2, 3, 4): TIMES}
    assert patterns(5, share=0.25)[0, 1, 2, 3, 4] == pytest.approx(0.75 * TIMES, rel=0.05)
    rows, moved = vary(np.full(TIMES, START), 5, 1.0, np.random.default_rng(0))
    is_shifted = (np.diff(rows) == 1).all(axis=1) & (rows[:, 0] >= START - 2) & (rows[:, 0] <= START + 2)
    assert (moved != START).mean() == pytest.approx(1 / 3, rel=0.1)
    assert np.array_equal(moved[moved != START], rows[moved != START, 0])
    assert is_shifted[moved != START].all()


@pytest.mark.parametrize("edge", ["roll", "clamp"])
@pytest.mark.parametrize("sampler", [Sampler("sequence"), Sampler("frames", 60, weighted=True), CONTEXT])
def test_varied_examples_have_the_labels_of_their_segments_and_frames_of_their_video(
    tiny: FrameStore, sampler: Sampler, edge: str
) -> None:
    store = replace(tiny, dataset=replace(tiny.dataset, edge=edge))
    rows = np.arange(40)
    plain, others = (
        SegmentExamples(store, sampler, "rated+mined", varied=share).batch(rows, np.random.default_rng(1))
        for share in (0.0, 1.0)
    )
    assert np.array_equal(plain.labels, others.labels)
    assert plain.mask is not None
    assert others.mask is not None
    assert np.array_equal(plain.mask, others.mask)
    videos = {}
    for segment, *place in (
        tiny.judgments.with_columns(video_id=tiny.judgments["segment_id"].str.split(":").list.first())
        .join(tiny.split("finetune"), on="video_id")
        .select("segment_id", "file", "first_frame", "frames")
        .iter_rows()
    ):
        videos.setdefault(segment, place)
    for window, (file, first, frames) in zip(others.features, list(videos.values())[:40], strict=True):
        own = {frame.tobytes() for frame in LEVELS[tiny.frames(file)[first : first + frames]]} | {bytes(4 * 48)}
        assert {frame.tobytes() for frame in np.ascontiguousarray(window)} <= own
    again = SegmentExamples(store, sampler, "rated+mined", varied=1.0)
    part = again.batch(rows, np.random.default_rng(1), slice(8, 16)).features
    expected = others.features[8:16]
    if sampler.weighted:  # each part has as many distinct frames as its windows need
        assert [window.sum().item() for window in part] != [window.sum().item() for window in plain.features[8:16]]
    else:
        assert np.array_equal(part, expected)
        assert not np.array_equal(part, plain.features[8:16])


def test_rows_outside_a_video_follow_the_rule_of_shifts() -> None:
    rows, counts = np.array([[-2, 0, 2], [8, 10, 12]]), np.array([10, 11])
    clamped = Dataset("clip", {"audio": 1}, "uint8", 3, False, 12, "clamp", ["0"], [0], "")
    assert at_edges(rows, counts, clamped).tolist() == [[0, 0, 2], [8, 10, 10]]
    assert at_edges(rows, counts, replace(clamped, edge="roll")).tolist() == [[PADDING, 0, 2], [8, 10, 0]]


def test_variation_is_for_rated_segments_and_a_probability() -> None:
    bert = member_of("paper", "bert-l2h12-mean")
    assert bert.pretrain is not None
    with pytest.raises(ValueError, match="set varied for its fine-tuning only"):
        replace(bert, pretrain=replace(bert.pretrain, varied=0.5))
    with pytest.raises(ValueError, match=r"varied is 1\.5; give at most 1"):
        Schedule(10, 5, varied=1.5)
