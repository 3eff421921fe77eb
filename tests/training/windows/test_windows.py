"""Which frames a model sees."""

from dataclasses import replace
from typing import get_args

import numpy as np
import polars as pl
import pytest

from training.windows import clips
from training.windows.clips import LEVELS
from training.windows.examples import LabelMask, SegmentExamples, VideoExamples, batch_rows
from training.windows.sampler import PADDING, Sampler, draws_per_frame, multiplicities, spread
from training.windows.segments import SegmentWindows, Windows, segment_rows
from videos.dataset import Dataset
from videos.segments import segments_of
from videos.splits import is_in_share
from videos.store import FrameStore

YT8M = Dataset("yt8m", {"rgb": 2, "audio": 1}, "uint8", 5, True, 300, "roll", ["0"], [0], "")
AUDIOSET = replace(YT8M, segment_frames=2, partial_segments=False, max_frames=10, edge="clamp")


def drawn(sampler: Sampler, count: int, times: int) -> np.ndarray:
    """`times` draws out of the first `count` rows."""
    return sampler.draw(np.zeros(times, int), np.full(times, count), YT8M, np.random.default_rng(0))


def test_dequantisation_meets_the_published_ends() -> None:
    assert LEVELS[0] == -1.9921875
    assert LEVELS[255] == 2.0078125


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        (0, [5, 6, 7, 8, 9]),
        (1, [4, 5, 6, 7, 8]),  # +1 looks one frame earlier
        (-2, [7, 8, 9, 10, 11]),
    ],
)
def test_a_positive_shift_looks_earlier(shift: int, expected: list[int]) -> None:
    assert segment_rows(np.array([5]), np.array([100]), shift, YT8M).tolist() == [expected]


def test_a_shift_rolls_over_the_padded_rows() -> None:
    first, full = np.array([0]), np.array([300])
    assert segment_rows(first, np.array([100]), 2, YT8M).tolist() == [[-1, -1, 0, 1, 2]]  # rows 298, 299 are padding
    assert segment_rows(first, full, 2, YT8M).tolist() == [[298, 299, 0, 1, 2]]  # the video's own end
    assert segment_rows(np.array([295]), full, -2, YT8M).tolist() == [[297, 298, 299, 0, 1]]


def test_a_shift_clamps_to_the_clip() -> None:
    starts, counts = np.array([0, 8]), np.array([10, 10])
    assert segment_rows(starts, counts, 1, AUDIOSET).tolist() == [[0, 0], [7, 8]]
    assert segment_rows(starts, counts, -1, AUDIOSET).tolist() == [[1, 2], [9, 9]]


@pytest.mark.parametrize("edge", ["roll", "clamp"])
def test_a_short_last_segment_ends_in_padding(edge: str) -> None:
    dataset = replace(YT8M, edge=edge)
    assert segment_rows(np.array([10]), np.array([12]), 0, dataset).tolist() == [[10, 11, -1, -1, -1]]


def test_clamping_moves_shifted_windows_alone() -> None:
    clamped = replace(YT8M, edge="clamp")
    starts, counts = np.array([0, 5]), np.array([10, 10])
    assert segment_rows(starts, counts, 2, clamped).tolist() == [[0, 0, 0, 1, 2], [3, 4, 5, 6, 7]]
    assert segment_rows(starts, counts, -2, clamped).tolist() == [[2, 3, 4, 5, 6], [7, 8, 9, 9, 9]]
    assert segment_rows(starts, counts, 0, clamped).tolist() == segment_rows(starts, counts, 0, YT8M).tolist()


def test_draws_go_round_the_valid_frames() -> None:
    weights = draws_per_frame(np.array([5, 3, 1]), 5, 7)
    assert weights.tolist() == [[2, 2, 1, 1, 1], [3, 2, 2, 0, 0], [7, 0, 0, 0, 0]]


DRAWN = Sampler("frames", 60, inference_seed=7)


def counts_of(sampler: Sampler, segments: list[str], shift: int = 0, valid: int = 5) -> list[list[float]]:
    return sampler.weights(np.full(len(segments), valid), segments, shift, YT8M).tolist()


def test_prediction_draws_nothing_unless_told() -> None:
    assert counts_of(Sampler("frames", 60), ["a:0", "b:5"]) == [[12] * 5] * 2
    assert counts_of(Sampler("sequence"), ["a:0"]) == [[1] * 5]


def test_draws_of_a_prediction_follow_from_seed_segment_and_shift() -> None:
    drawn = counts_of(DRAWN, ["a:0", "b:5"])
    assert counts_of(DRAWN, ["b:5", "a:0"]) == drawn[::-1]  # whatever else is predicted with them
    assert drawn[0] != drawn[1]
    assert counts_of(DRAWN, ["a:0"], shift=-1) != drawn[:1]
    assert counts_of(replace(DRAWN, inference_seed=8), ["a:0"]) != drawn[:1]


def test_draws_of_a_prediction_are_uniform_over_the_frames_there() -> None:
    segments = [f"v:{start}" for start in range(2000)]
    counts = np.array(counts_of(DRAWN, segments, valid=3))
    assert (counts.sum(1) == 60).all()
    assert not counts[:, 3:].any()
    assert counts.mean(0)[:3] == pytest.approx([20] * 3, abs=0.3)
    assert counts[:, 0].var() == pytest.approx(60 * 1 / 3 * 2 / 3, rel=0.1)  # a binomial's


def test_a_sequence_repeats_the_last_frame_of_a_short_video() -> None:
    rows = drawn(Sampler("sequence"), 3, times=1)
    assert rows.tolist() == [[0, 1, 2, 2, 2]]


def test_a_sequence_starts_anywhere_it_fits() -> None:
    rows = drawn(Sampler("sequence"), 8, times=2000)
    assert sorted(set(rows[:, 0].tolist())) == [0, 1, 2, 3]
    assert (np.diff(rows) == 1).all()


def test_frames_are_drawn_with_replacement() -> None:
    rows = drawn(Sampler("frames"), 5, times=20_000)
    distinct = np.mean([len(set(row)) for row in rows.tolist()])
    assert distinct == pytest.approx(5 * (1 - (4 / 5) ** 5), abs=0.02)  # 3.36 of 5


def test_draws_stay_within_their_stretch() -> None:
    starts, counts = np.array([40, 7]), np.array([5, 5])
    rows = Sampler("frames", 50).draw(starts, counts, YT8M, np.random.default_rng(0))
    assert [sorted(set(row)) for row in rows.tolist()] == [[40, 41, 42, 43, 44], [7, 8, 9, 10, 11]]
    assert Sampler("sequence").draw(starts, counts, YT8M, np.random.default_rng(0))[0].tolist() == [40, 41, 42, 43, 44]


def test_a_frame_drawn_several_times_is_given_once() -> None:
    rows = np.array([[7, 3, 7, 7, 3], [2, 2, -1, 2, 2], [4, 4, 4, 4, 4]])
    distinct, times = multiplicities(rows)
    assert distinct.tolist() == [[3, 7], [-1, 2], [4, -1]]
    assert times.tolist() == [[2, 3], [1, 4], [5, 0]]


def test_weighted_frames_are_the_same_draws(tiny: FrameStore) -> None:
    plain, weighted = (
        SegmentExamples(tiny, Sampler("frames", 60, weighted=weighted), "none") for weighted in (False, True)
    )
    every = plain.batch(np.arange(6), np.random.default_rng(3))
    once = weighted.batch(np.arange(6), np.random.default_rng(3))
    assert every.frame_weights is None
    assert once.features.shape[1] == 5
    assert once.frame_weights is not None
    assert (once.frame_weights.sum(1) == 60).all()
    for drawn, frames, times in zip(every.features, once.features, once.frame_weights, strict=True):
        repeated = np.repeat(frames, times.astype(int), axis=0)
        assert np.array_equal(np.unique(drawn, axis=0), np.unique(repeated, axis=0))
        assert sorted(map(bytes, drawn)) == sorted(map(bytes, repeated))


def test_a_share_of_the_rated_videos_gives_their_segments(tiny: FrameStore) -> None:
    whole, part = (SegmentExamples(tiny, Sampler("sequence"), "none", share=share) for share in (1.0, 0.5))
    videos = [video for video in tiny.split("finetune")["video_id"] if is_in_share(video, 0.5)]
    chosen = SegmentExamples(tiny, Sampler("sequence"), "none", videos=videos)
    assert 0 < len(part) == len(chosen) < len(whole)
    assert np.array_equal(part.batch(np.arange(4), np.random.default_rng(0)).features,
                          chosen.batch(np.arange(4), np.random.default_rng(0)).features)  # fmt: skip
    with pytest.raises(ValueError, match=r"no rated segment in the share 0\.0001 of the split finetune"):
        SegmentExamples(tiny, Sampler("sequence"), "none", share=0.0001)


WEIGHTED = Sampler("frames", 60, weighted=True)


def short_segment(store: FrameStore, lacking: int) -> tuple[FrameStore, int]:
    """The store with a rated video shortened, so that its last segment lacks frames; and that segment's row.

    The frames beyond the end stay in the file: a window that reads them differs.
    """
    rated = store.judgments["segment_id"].to_list()
    video = next(v for v in store.split("finetune")["video_id"] if f"{v}:5" in rated)
    frames = pl.when(pl.col("video_id") == video).then(10 - lacking).otherwise("frames").cast(pl.Int32)
    judgments = store.judgments.filter(pl.col("segment_id") == f"{video}:5")
    return replace(store, videos=store.videos.with_columns(frames=frames), judgments=judgments), 5


@pytest.mark.parametrize("sampler", [Sampler("sequence"), Sampler("frames", 60), WEIGHTED], ids=lambda s: s.kind)
@pytest.mark.parametrize("lacking", [1, 3])
def test_training_sees_nothing_of_the_frames_that_a_short_last_segment_lacks(
    tiny: FrameStore, sampler: Sampler, lacking: int
) -> None:
    short, start = short_segment(tiny, lacking)
    examples = SegmentExamples(short, sampler, "none")
    batch = examples.batch(np.zeros(1, int), np.random.default_rng(0))
    video = short.videos.filter(video_id=short.judgments["segment_id"][0].split(":")[0])
    first = video["first_frame"][0] + start
    there = LEVELS[tiny.frames(video["file"][0])[first : first + 5 - lacking]]
    window = batch.features[0]
    times = np.ones(len(window)) if batch.frame_weights is None else batch.frame_weights[0]
    assert times.sum() == (5 if sampler.kind == "sequence" else 60)
    counts = {frame.tobytes(): times[(window == frame).all(1)].sum() for frame in [*there, np.zeros_like(there[0])]}
    assert sum(counts.values()) == times.sum()  # each a frame of the segment, or zeros
    assert counts.pop(bytes(4 * 48)) > 0
    if sampler.kind == "sequence":
        assert set(counts.values()) == {1}
    assert min(counts.values()) > 0


@pytest.mark.parametrize("lacking", [1, 3])
@pytest.mark.parametrize("shift", [0, 1, -1])
def test_prediction_gives_no_weight_to_the_frames_that_a_short_last_segment_lacks(
    tiny: FrameStore, shift: int, lacking: int
) -> None:
    short, start = short_segment(tiny, lacking)
    segments = segments_of(short.videos, short.dataset).filter(
        pl.col("segment_id").is_in(short.judgments["segment_id"].to_list())
    )
    file, first = segments["file"][0], segments["first_frame"][0]
    valid = 5 - lacking
    for sampler in (Sampler("sequence"), WEIGHTED, replace(WEIGHTED, inference_seed=3)):
        windows = SegmentWindows(short, segments, sampler).at(np.zeros(1, int), shift)
        for place, row in enumerate(range(start - shift, start - shift + 5)):
            expected = LEVELS[tiny.frames(file)[first + row]] if row < 10 - lacking else np.zeros(48)
            assert np.array_equal(windows.features[0, place], expected)
        if sampler.kind == "sequence":
            assert windows.frame_weights.tolist() == [[1] * 5]
        else:
            assert windows.frame_weights.sum() == 60
            assert not windows.frame_weights[0, valid:].any()
            assert windows.frame_weights[0, :valid].all()


def test_frames_are_not_weighted_where_it_saves_little(tiny: FrameStore) -> None:
    batch = VideoExamples(tiny, Sampler("frames", 5, weighted=True)).batch(np.arange(16), np.random.default_rng(0))
    assert batch.frame_weights is None


CONTEXT = Sampler("sequence", surroundings=2, video_frames=4)


def test_a_window_in_context_is_before_segment_after_and_the_whole_video() -> None:
    segment, start = np.array([[10, 11, 12, 13, 14]]), np.array([10])
    rows = CONTEXT.in_context(segment, start, np.array([40]))
    assert rows.tolist() == [[8, 9, 10, 11, 12, 13, 14, 15, 16, 5, 15, 25, 35]]
    assert rows.shape[1] == CONTEXT.length(YT8M.segment_frames)


def test_what_a_video_does_not_have_is_absent() -> None:
    segment, start = np.array([[0, 1, 2, -1, -1]]), np.array([0])
    rows = CONTEXT.in_context(segment, start, np.array([3]))
    assert rows.tolist() == [[-1, -1, 0, 1, 2, -1, -1, -1, -1, 0, 1, 2, -1]]


def test_a_whole_video_is_spread_evenly() -> None:
    assert spread(np.array([300, 4, 2]), 4).tolist() == [[37, 112, 187, 262], [0, 1, 2, 3], [0, 1, -1, -1]]
    assert spread(np.array([300]), 0).shape == (1, 0)


def windows_of(store: FrameStore, sampler: Sampler, shift: int) -> Windows:
    segments = segments_of(store.split("test").head(1), store.dataset)
    return SegmentWindows(store, segments, sampler).at(np.arange(len(segments)), shift)


def test_frames_are_read_once_and_windows_are_theirs(tiny: FrameStore) -> None:
    segments, shifts = segments_of(tiny.split("test"), tiny.dataset), (2, 0, -1)
    windows = SegmentWindows(tiny, segments, Sampler("sequence")).at(np.arange(len(segments)), *shifts)
    frames = windows.frames.features()
    assert len(np.unique(frames, axis=0)) == len(frames) <= tiny.split("test")["frames"].sum() + 1
    features = iter(windows.features)
    for shift in shifts:
        for file, first, frames, start in segments.select("file", "first_frame", "frames", "start").iter_rows():
            rows = segment_rows(np.array([start]), np.array([frames]), shift, tiny.dataset)[0]
            expected = [LEVELS[tiny.frames(file)[first + row]] if row >= 0 else np.zeros(48) for row in rows]
            assert np.array_equal(next(features), expected)


def test_a_shift_moves_the_segment_and_its_surroundings_alone(tiny: FrameStore) -> None:
    still, moved = windows_of(tiny, CONTEXT, 0), windows_of(tiny, CONTEXT, 1)
    assert np.array_equal(still.features[:, 9:], moved.features[:, 9:])
    assert np.array_equal(still.features[1:2, :8], moved.features[1:2, 1:9])
    assert not still.features[0, :2].any()  # nothing is before a video's start
    assert still.features[0, 2:].any(-1).all()
    assert (still.frame_weights == 1).all()
    plain = windows_of(tiny, Sampler("sequence"), 1)
    assert np.array_equal(moved.features[:, 2:7], plain.features)


def test_all_shifts_at_once_draw_what_each_draws_alone(tiny: FrameStore) -> None:
    segments, shifts = segments_of(tiny.split("test"), tiny.dataset), (2, 0, -1)
    windows, every = SegmentWindows(tiny, segments, DRAWN), np.arange(len(segments))
    together = windows.at(every, *shifts).frame_weights
    assert np.array_equal(together, np.concatenate([windows.at(every, shift).frame_weights for shift in shifts]))
    part = SegmentWindows(tiny, segments[3:], DRAWN).at(np.array([4]), 0)
    assert np.array_equal(part.frame_weights, windows.at(np.array([7]), 0).frame_weights)


def test_training_sees_the_windows_that_prediction_sees(tiny: FrameStore) -> None:
    """A rated segment under no shift, and in pre-training a run of frames anywhere in the video."""
    examples = SegmentExamples(tiny, CONTEXT, "none")
    batch = examples.batch(np.arange(len(examples)), np.random.default_rng(0))
    segments = segments_of(tiny.split("finetune"), tiny.dataset)
    windows = SegmentWindows(tiny, segments, CONTEXT).at(np.arange(len(segments)), 0)
    seen = {window.tobytes() for window in windows.features}
    assert {window.tobytes() for window in batch.features} <= seen
    videos = VideoExamples(tiny, CONTEXT).batch(np.arange(3), np.random.default_rng(0)).features
    assert videos.shape == (3, 13, 48)
    assert videos[:, 2:7].any(-1).all()


def test_every_pass_sees_every_example_once() -> None:
    seen = np.concatenate([batch_rows(step, 4, 10, seed=3) for step in range(5)])
    assert sorted(seen[:10].tolist()) == list(range(10))
    assert sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()


def test_a_batch_larger_than_the_examples_is_several_passes() -> None:
    assert sorted(batch_rows(0, 8, 4, seed=0).tolist()) == [0, 0, 1, 1, 2, 2, 3, 3]


def masked_pairs(store: FrameStore, label_mask: LabelMask) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Labels and loss weights (C,) of each rated segment, by its id; None counts every class once."""
    examples = SegmentExamples(store, Sampler("sequence"), label_mask)
    batch = examples.batch(np.arange(len(examples)), np.random.default_rng(0))
    ids = store.judged(segments_of(store.split("finetune"), store.dataset))["segment_id"].unique(maintain_order=True)
    mask = np.ones_like(batch.labels) if batch.mask is None else batch.mask
    return dict(zip(ids, batch.labels, strict=True)), dict(zip(ids, mask, strict=True))


@pytest.mark.parametrize("label_mask", get_args(LabelMask))
def test_label_masks(tiny: FrameStore, label_mask: LabelMask) -> None:
    """`none` counts every class, `rated` the rated alone, `rated+mined` weighs positives and adds sure negatives."""
    labels, mask = masked_pairs(tiny, label_mask)
    labelled = dict(tiny.videos.select("video_id", "classes").iter_rows())
    for segment in labels:
        ratings = dict(tiny.judgments.filter(segment_id=segment).select("class_id", "relevance").iter_rows())
        positive = {class_id for class_id, relevance in ratings.items() if relevance > 0}
        mined = set(tiny.dataset.scored_classes) - set(ratings) - set(labelled[segment.split(":")[0]])
        for class_id in range(tiny.dataset.classes):
            weight = {
                "none": 1.0,
                "rated": float(class_id in ratings),
                "rated+mined": 1.5 if class_id in positive else float(class_id in ratings),
            }[label_mask]
            if label_mask == "rated+mined" and class_id in mined:
                weight = 0.5 / len(mined)
            assert labels[segment][class_id] == (class_id in positive)
            assert mask[segment][class_id] == pytest.approx(weight)


def test_only_the_rows_of_a_window_are_asked_for(tiny: FrameStore, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(clips, "expect", lambda frames, first, end: asked.append((first, end)))
    table = tiny.videos.filter(pl.col("frames") > 12)[:3]
    first = table["first_frame"].to_numpy()
    read = clips.Clips(tiny, table)
    rows = np.array([[3, 4, 5], [9, 2, 2], [PADDING, 7, PADDING]])
    read.gather(np.arange(3), rows)
    assert asked == [(first[0] + 3, first[0] + 6), (first[1] + 2, first[1] + 10), (first[2] + 7, first[2] + 8)]

    asked.clear()
    stored, index = read.distinct(np.array([0, 0, 2]), np.array([[3, 4, 5], [5, 6, 9], [PADDING, 0, 1]]))
    assert asked == [(first[0] + 3, first[0] + 7), (first[0] + 9, first[0] + 10), (first[2], first[2] + 2)]
    expected = read.gather(np.array([0, 0, 2]), np.array([[3, 4, 5], [5, 6, 9], [PADDING, 0, 1]])).features()
    assert np.array_equal(stored.features()[index], expected)
