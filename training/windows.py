"""Which frames a model sees: random windows while it learns, shifted segments while it predicts.

Shapes: B examples, T frames of a window, D features of a frame, C classes.
"""

import functools
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import polars as pl

from scoring.dataset import Dataset
from scoring.resampling import videos_of
from training.frames import FrameStore

# A quantised value q in 0..255 stands for q * 4/255 + 4/512 - 2 (YouTube-8M's starter code; AudioSet uses the same).
LEVELS = (np.arange(256) * (4 / 255) + (4 / 512 - 2)).astype(np.float32)
FILE_BITS = 40  # of a frame's row in its file, below the file's number
PADDING = -1  # a row that is no frame: its features are exact zeros
SAVING = 0.75  # frames are weighted where no more than this share of the draws is left: weights cost something too

ALL = slice(None)

LabelMask = Literal["none", "rated", "rated+mined"]


@dataclass(frozen=True)
class Sampler:
    """Which frames of a video make a window: a run of consecutive ones, or frames drawn with replacement.

    `frames` is the number drawn; None draws as many as a segment has. `weighted` gives a frame that is drawn several
    times to the model once, with how often, where that makes windows shorter: for models to which it is the same. A
    model that knows its context is shown `surroundings` frames on each side of the run, and `video_frames` spread
    evenly over the whole video.

    A prediction gives each frame of a segment its equal share of the draws. With an `inference_seed` frames are drawn
    anew instead, as the original does: a segment's draws under a shift are a function of that seed, its id and the
    shift.
    """

    kind: Literal["sequence", "frames"]
    frames: int | None = None
    weighted: bool = False
    surroundings: int = 0
    video_frames: int = 0
    inference_seed: int | None = None

    def length(self, segment_frames: int) -> int:
        """The number of frames of a window, where a segment has `segment_frames`."""
        return (self.frames or segment_frames) + 2 * self.surroundings + self.video_frames

    def draw(self, starts: np.ndarray, counts: np.ndarray, dataset: Dataset, rng: np.random.Generator) -> np.ndarray:
        """Rows (B, drawn) for training, each window's out of `counts` rows from `starts` on.

        A stretch that is shorter than a sequence repeats its last row.
        """
        drawn = self.frames or dataset.segment_frames
        if self.kind == "frames":
            return starts[:, None] + (rng.random((len(starts), drawn)) * counts[:, None]).astype(np.int64)
        first = (rng.random(len(starts)) * (np.maximum(counts - drawn, 0) + 1)).astype(np.int64)
        return starts[:, None] + np.minimum(first[:, None] + np.arange(drawn), counts[:, None] - 1)

    def in_context(self, rows: np.ndarray, starts: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """`rows` (B, drawn) of windows that begin at `starts`, with their context, in videos of `frames` frames.

        The order is: before, rows, after, all over the video. What a video does not have is PADDING.
        """
        beside = np.arange(self.surroundings)
        before = starts[:, None] - self.surroundings + beside
        after = starts[:, None] + rows.shape[1] + beside
        near = [np.where((side >= 0) & (side < frames[:, None]), side, PADDING) for side in (before, after)]
        return np.concatenate([near[0], rows, near[1], spread(frames, self.video_frames)], axis=1)

    def weights(self, valid: np.ndarray, segments: Sequence[str], shift: int, dataset: Dataset) -> np.ndarray:
        """How often each frame of a window (B, T) counts in prediction, when `valid` (B,) of its rows are there.

        `segments` are the B ids. Draws are among the rows that are there; a sequence counts every row once.
        """
        draws = self.length(dataset.segment_frames)
        if self.kind == "sequence":
            return np.ones((len(valid), draws), dtype=np.float32)
        if self.inference_seed is None:
            return draws_per_frame(valid, dataset.segment_frames, draws)
        keys = [(self.inference_seed, zlib.crc32(f"{segment} {shift}".encode())) for segment in segments]
        drawn = [np.random.default_rng(key).integers(n, size=draws) for key, n in zip(keys, valid, strict=True)]
        return np.stack([np.bincount(rows, minlength=dataset.segment_frames) for rows in drawn]).astype(np.float32)


@dataclass(frozen=True)
class Batch:
    """Training examples: features (B, T, D), labels (B, C) in 0..1, and loss weights (B, C) or None for all 1.

    `frame_weights` (B, T) say how often each frame was drawn; None means once each.
    """

    features: np.ndarray
    labels: np.ndarray
    mask: np.ndarray | None = None
    frame_weights: np.ndarray | None = None


class Examples(Protocol):
    """What an estimator learns from; the same rows and generator state give the same batch (or `part` of it)."""

    def __len__(self) -> int: ...

    def batch(self, rows: np.ndarray, rng: np.random.Generator, part: slice = ALL) -> Batch: ...


class Clips:
    """Where stretches of frames lie: one entry a video or a segment, with random access by entry and row."""

    def __init__(self, store: FrameStore, table: pl.DataFrame):
        """`table` has the columns file, first_frame and frames; a row of a clip counts from the video's first frame."""
        self._store = store
        self.first = table["first_frame"].to_numpy()
        self.frames = np.minimum(table["frames"].to_numpy(), store.dataset.max_frames).astype(np.int64)
        self._files = table["file"].unique().sort().to_list()
        self._file = table["file"].rank("dense").to_numpy().astype(np.int64) - 1

    def __len__(self) -> int:
        return len(self.first)

    def distinct(self, entries: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each frame that `rows` (B, T) of the clips `entries` (B,) name, read and dequantised once, (F, D).

        The second array (B, T) says where in the first each row is. PADDING rows are zeros.
        """
        dataset = self._store.dataset
        first = (self._file[entries] << FILE_BITS) + self.first[entries]
        places, index = np.unique(np.where(rows == PADDING, PADDING, first[:, None] + rows), return_inverse=True)
        raw = np.empty((len(places), dataset.width), dtype=dataset.dtype)
        file, place = places >> FILE_BITS, places & ((1 << FILE_BITS) - 1)
        for number in np.unique(file[places != PADDING]):
            of_file = slice(*np.searchsorted(file, [number, number + 1]))
            raw[of_file] = self._store.frames(self._files[number])[place[of_file]]
        frames = LEVELS[raw] if dataset.dtype == "uint8" else raw
        frames[places == PADDING] = 0.0
        return frames, index.reshape(rows.shape)

    def gather(self, entries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Dequantised features (B, T, D) of `rows` (B, T) of the clips `entries` (B,); PADDING rows are zeros."""
        frames, index = self.distinct(entries, rows)
        return frames[index]


class VideoExamples:
    """Whole videos with their video-level labels over all classes: what pre-training learns from."""

    def __init__(self, store: FrameStore, sampler: Sampler):
        videos = store.videos.filter(pl.col("split").is_in(["pretrain", "finetune"]), pl.col("frames") > 0)
        if videos.is_empty():
            raise ValueError(f"{store.folder} has no video in the splits pretrain and finetune; ingest more shards")
        self._clips = Clips(store, videos)
        self._sampler, self._dataset = sampler, store.dataset
        self._labels = videos["classes"].to_list()

    def __len__(self) -> int:
        return len(self._clips)

    def batch(self, rows: np.ndarray, rng: np.random.Generator, part: slice = ALL) -> Batch:
        counts = self._clips.frames[rows]
        drawn = self._sampler.draw(np.zeros_like(counts), counts, self._dataset, rng)
        windows, rows = self._sampler.in_context(drawn, drawn[:, 0], counts)[part], rows[part]
        labels = np.zeros((len(rows), self._dataset.classes), dtype=np.float32)
        for label, row in zip(labels, rows, strict=True):
            label[self._labels[row]] = 1.0
        return _batch(self._clips, rows, windows, self._sampler, labels, None)


class SegmentExamples:
    """Rated segments, one example per video and start: what fine-tuning learns from (the split `finetune`).

    Labels: the rating at each rated class, 0 elsewhere. The loss weights follow `label_mask`: `none` counts every
    unrated class as a negative, as the original's code does; `rated` counts rated pairs alone; `rated+mined` adds
    half the mean loss over the scored classes that are neither rated nor among the video's labels, and weighs rated
    positives 1.5 (7th place of the competition).
    """

    def __init__(self, store: FrameStore, sampler: Sampler, label_mask: LabelMask, videos: list[str] | None = None):
        """`videos` restricts the examples to these video ids (the folds of out-of-fold fitting)."""
        pool = store.videos.filter(pl.col("split") == "finetune")
        if videos is not None:
            pool = pool.filter(pl.col("video_id").is_in(videos))
        rated = store.judgments.with_columns(
            video_id=videos_of(store.judgments), start=pl.col("segment_id").str.extract(r":(\d+)$").cast(pl.Int32)
        )
        ratings = rated.join(pool, on="video_id", maintain_order="left")
        if ratings.is_empty():
            raise ValueError(f"{store.folder} has no rated segment in the split finetune; ingest segment-rated shards")
        examples = ratings.group_by("video_id", "start", maintain_order=True).agg(
            pl.col("file", "first_frame", "frames", "classes").first(), rated="class_id", relevance="relevance"
        )
        self._clips = Clips(store, examples)
        self._starts = examples["start"].to_numpy().astype(np.int64)
        self._sampler, self._dataset = sampler, store.dataset
        self._rated = [(np.asarray(c), np.asarray(r) > 0) for c, r in examples.select("rated", "relevance").rows()]
        self._labels = examples["classes"].to_list()
        self._scored = np.asarray(store.dataset.scored_classes)
        self._label_mask = label_mask

    def __len__(self) -> int:
        return len(self._clips)

    def batch(self, rows: np.ndarray, rng: np.random.Generator, part: slice = ALL) -> Batch:
        starts, frames = self._starts[rows], self._clips.frames[rows]
        drawn = self._sampler.draw(starts, np.full(len(rows), self._dataset.segment_frames), self._dataset, rng)
        drawn = np.where(drawn < frames[:, None], drawn, PADDING)
        windows, rows = self._sampler.in_context(drawn, starts, frames)[part], rows[part]
        labels = np.zeros((len(rows), self._dataset.classes), dtype=np.float32)
        for label, row in zip(labels, rows, strict=True):
            classes, positive = self._rated[row]
            label[classes] = positive
        return _batch(self._clips, rows, windows, self._sampler, labels, self._mask(rows, labels))

    def _mask(self, rows: np.ndarray, labels: np.ndarray) -> np.ndarray | None:
        if self._label_mask == "none":
            return None
        mask = np.zeros_like(labels)
        for weights, label, row in zip(mask, labels, rows, strict=True):
            rated = self._rated[row][0]
            if self._label_mask == "rated+mined":
                mined = np.setdiff1d(self._scored, np.concatenate([rated, self._labels[row]]))
                weights[mined] = 0.5 / max(len(mined), 1)
                weights[rated] = np.where(label[rated] > 0, 1.5, 1.0)
            else:
                weights[rated] = 1.0
        return mask


def _batch(
    clips: Clips, entries: np.ndarray, rows: np.ndarray, sampler: Sampler, labels: np.ndarray, mask: np.ndarray | None
) -> Batch:
    if sampler.weighted:
        distinct, times = multiplicities(rows)
        if distinct.shape[1] <= SAVING * rows.shape[1]:
            return Batch(clips.gather(entries, distinct), labels, mask, times)
    return Batch(clips.gather(entries, rows), labels, mask)


def batch_rows(step: int, size: int, count: int, seed: int) -> np.ndarray:
    """The examples of a step: a window into an endless row of shuffled passes over `count` examples.

    A function of its arguments alone, so that training can go on at any step as if it had never stopped.
    """
    positions = range(step * size, (step + 1) * size)
    epochs = range(positions[0] // count, positions[-1] // count + 1)
    passes = {epoch: _shuffled(seed, epoch, count) for epoch in epochs}
    return np.array([passes[position // count][position % count] for position in positions])


@functools.lru_cache(maxsize=2)  # shuffling millions of examples anew for every step would take longer than the step
def _shuffled(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(count)


@dataclass(frozen=True)
class Windows:
    """Windows as a model sees them. A frame is there once, however many windows it is in: `frames` (F, D).

    `index` (B, T) says which frames make a window, `frame_weights` (B, T) how many draws fall on each.
    """

    frames: np.ndarray
    index: np.ndarray
    frame_weights: np.ndarray

    @property
    def features(self) -> np.ndarray:
        """The frames of each window (B, T, D)."""
        return self.frames[self.index]


class SegmentWindows:
    """The segments of a split (`scoring.dataset.segments_of`, or some of its rows) under any shift."""

    def __init__(self, store: FrameStore, segments: pl.DataFrame, sampler: Sampler):
        self._clips = Clips(store, segments)
        self._starts = segments["start"].to_numpy().astype(np.int64)
        self._ids = segments["segment_id"]
        self._dataset, self._sampler = store.dataset, sampler

    def __len__(self) -> int:
        return len(self._clips)

    def at(self, entries: np.ndarray, *shifts: int) -> Windows:
        """The windows of the segments `entries` (N,) under each shift: first all under the first, and so on."""
        starts, counts = self._starts[entries], self._clips.frames[entries]
        shifted = [
            self._sampler.in_context(segment_rows(starts, counts, shift, self._dataset), starts - shift, counts)
            for shift in shifts
        ]
        valid = np.minimum(self._dataset.segment_frames, counts - starts)
        ids = self._ids[entries].to_list()
        weights = [self._sampler.weights(valid, ids, shift, self._dataset) for shift in shifts]
        frames, index = self._clips.distinct(np.tile(entries, len(shifts)), np.concatenate(shifted))
        return Windows(frames, index, np.concatenate(weights))

    def blocks(self, shift: int, size: int = 1024) -> Iterator[Windows]:
        for first in range(0, len(self), size):
            yield self.at(np.arange(first, min(first + size, len(self))), shift)


def segment_rows(starts: np.ndarray, counts: np.ndarray, shift: int, dataset: Dataset) -> np.ndarray:
    """The frames (B, T) that segments see under a shift; +k looks k frames EARLIER.

    `roll` turns the video round within `max_frames` rows, those beyond its end being zeros, as the original does;
    `clamp` repeats the first or the last frame; what a short last segment lacks is no edge, and stays PADDING.
    """
    unshifted = starts[:, None] + np.arange(dataset.segment_frames)
    places = unshifted - shift
    if dataset.edge == "clamp":
        return np.where(unshifted < counts[:, None], np.clip(places, 0, counts[:, None] - 1), PADDING)
    places %= dataset.max_frames
    return np.where(places < counts[:, None], places, PADDING)


def draws_per_frame(valid: np.ndarray, length: int, draws: int) -> np.ndarray:
    """How often each of `length` frames (B, T) is drawn when `draws` go round the first `valid` of them."""
    places = np.arange(length)
    share = draws // valid[:, None] + (places < draws % valid[:, None])
    return np.where(places < valid[:, None], share, 0).astype(np.float32)


def multiplicities(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each value of `rows` (B, T) once (B, U), in order, and how often it stands there (B, U); PADDING, 0 fill up."""
    ordered = np.sort(rows, axis=1)
    is_new = np.ones(rows.shape, dtype=bool)
    is_new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    place = is_new.cumsum(axis=1) - 1
    distinct = np.full((len(rows), place.max() + 1), PADDING)
    times = np.zeros(distinct.shape, dtype=np.float32)
    np.put_along_axis(distinct, place, ordered, axis=1)
    np.add.at(times, (np.arange(len(rows))[:, None], place), 1)
    return distinct, times


def spread(frames: np.ndarray, count: int) -> np.ndarray:
    """`count` rows (B, count) spread evenly over clips of `frames` frames; a shorter clip's each once, then PADDING."""
    places = np.arange(count)
    even = (2 * places + 1) * frames[:, None] // max(2 * count, 1)
    short = np.where(places < frames[:, None], places, PADDING)
    return np.where(frames[:, None] > count, even, short)
