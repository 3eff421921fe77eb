"""Training examples: windows of frames with labels and loss weights.

Shapes: B examples, T frames of a window, D features of a frame, C classes.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import polars as pl

from training.windows.clips import Clips, StoredFrames
from training.windows.sampler import PADDING, Sampler
from training.windows.segments import at_edges
from training.windows.unrated import EXAMPLES, Unrated, UnratedWindows
from training.windows.variation import vary
from videos.segments import segment_starts, segment_videos
from videos.splits import is_in_share
from videos.store import FrameStore

ALL = slice(None)
LabelMask = Literal["none", "rated", "rated+mined"]


@dataclass(frozen=True)
class Batch:
    """Training examples: frames (B, T, D), labels (B, C) in 0..1, and loss weights (B, C) or None for all 1.

    `frame_weights` (B, T) count how often each frame was drawn; None means once each. `unrated` are windows for the
    consistency term of the loss; None means that it has none.
    """

    frames: StoredFrames
    labels: np.ndarray
    mask: np.ndarray | None = None
    frame_weights: np.ndarray | None = None
    unrated: Unrated | None = None

    @property
    def features(self) -> np.ndarray:
        """The features (B, T, D) f32."""
        return self.frames.features()

    def map(self, change: Callable[[np.ndarray], np.ndarray]) -> "Batch":
        """The batch with `change` applied to each of its arrays."""

        def changed(array: np.ndarray | None) -> np.ndarray | None:
            return None if array is None else change(array)

        unrated = None if self.unrated is None else self.unrated.map(change)
        frames, labels = self.frames.map(change), change(self.labels)
        return Batch(frames, labels, changed(self.mask), changed(self.frame_weights), unrated)


class Examples(Protocol):
    """What an estimator is trained on. Equal rows and generator states give equal batches; `part` selects from them."""

    def __len__(self) -> int: ...

    def batch(self, rows: np.ndarray, rng: np.random.Generator, part: slice = ALL) -> Batch: ...


class VideoExamples:
    """Videos of the splits pretrain and finetune with their video-level labels: the examples of pre-training.

    With `repeat_below`, videos of rare scored classes occur several times in an epoch (`times_repeated`).
    """

    def __init__(self, store: FrameStore, sampler: Sampler, *, repeat_below: float = 0.0):
        videos = store.videos.filter(pl.col("split").is_in(["pretrain", "finetune"]), pl.col("frames") > 0)
        if videos.is_empty():
            raise ValueError(f"{store.folder} has no video in the splits pretrain and finetune; ingest more shards")
        self._clips = Clips(store, videos)
        self._sampler, self._dataset = sampler, store.dataset
        # The labels of all videos, one after the other, and how many each has: lists of five million would take a GB.
        self._labels = videos["classes"].explode(empty_as_null=False).to_numpy()
        self._counts = videos["classes"].list.len().to_numpy().astype(np.int64)
        self._starts = np.cumsum(self._counts) - self._counts
        times = times_repeated(self._labels, self._counts, store.dataset.scored_classes, repeat_below)
        self._entries = np.repeat(np.arange(len(videos)), times)

    def __len__(self) -> int:
        return len(self._entries)

    def batch(self, rows: np.ndarray, rng: np.random.Generator, part: slice = ALL) -> Batch:
        rows = self._entries[rows]
        frames = self._clips.frames[rows]
        drawn = self._sampler.draw(np.zeros_like(frames), frames, self._dataset, rng)
        windows, rows = self._sampler.in_context(drawn, drawn[:, 0], frames)[part], rows[part]
        counts = self._counts[rows]
        before = np.cumsum(counts) - counts
        classes = self._labels[np.arange(counts.sum()) + np.repeat(self._starts[rows] - before, counts)]
        labels = np.zeros((len(rows), self._dataset.classes), dtype=np.float32)
        labels[np.repeat(np.arange(len(rows)), counts), classes] = 1.0
        batch = _batch(self._clips, rows, windows, self._sampler, labels, None)
        return replace(batch, frame_weights=(windows != PADDING).astype(np.float32)) if self._sampler.weak else batch


def times_repeated(
    labels: np.ndarray, counts: np.ndarray, scored_classes: Sequence[int], repeat_below: float
) -> np.ndarray:
    """How often each video is an example in an epoch (videos): the rounded square root of `repeat_below` over the share
    of videos with its rarest scored class, at least once.

    MAP weighs all scored classes equally, but most labels are of a few. After the repeat factor of Gupta, Dollár and
    Girshick (CVPR 2019, LVIS, section 5.1).

    Args:
        labels: classes of all videos, one video after the other, `counts` of each.
    """
    videos = len(counts)
    if not repeat_below:  # what follows takes 0.6 s for four million videos
        return np.ones(videos, dtype=np.int64)
    rarest = np.full(videos, np.inf)
    videos_with = np.bincount(labels, minlength=max(scored_classes, default=0) + 1).astype(float)
    is_scored = np.isin(labels, scored_classes)
    np.minimum.at(rarest, np.repeat(np.arange(videos), counts)[is_scored], videos_with[labels[is_scored]])
    return np.maximum(np.rint(np.sqrt(repeat_below * videos / rarest)), 1).astype(np.int64)


class SegmentExamples:
    """Rated segments of the split finetune, one example per segment: the examples of fine-tuning.

    Labels are the ratings of rated classes, 0 elsewhere. `label_mask` sets the loss weights: `none` takes unrated
    classes as negatives, as the original's code does; `rated` uses rated pairs only; `rated+mined` (7th place) weighs
    rated positives 1.5 and adds half the mean loss over the scored classes that are neither rated nor labels of the
    video. A window is varied with the probability `varied` (`variation`). With `consistency` above 0, a batch also has
    windows of unrated videos, one per EXAMPLES of its examples (`unrated`).
    """

    def __init__(
        self,
        store: FrameStore,
        sampler: Sampler,
        label_mask: LabelMask,
        *,
        videos: list[str] | None = None,
        share: float = 1.0,
        varied: float = 0.0,
        consistency: float = 0.0,
    ):
        """`videos` restricts the examples to these video ids (folds), `share` to those of this share of all videos."""
        pool = store.videos.filter(pl.col("split") == "finetune")
        if share < 1:
            pool = pool.filter([is_in_share(video_id, share) for video_id in pool["video_id"]])
        if videos is not None:
            pool = pool.filter(pl.col("video_id").is_in(videos))
        rated = store.judgments.with_columns(video_id=segment_videos(), start=segment_starts())
        ratings = rated.join(pool, on="video_id", maintain_order="left")
        if ratings.is_empty():
            where = "the split finetune" if share == 1 else f"the share {share} of the split finetune"
            raise ValueError(f"{store.folder} has no rated segment in {where}; ingest segment-rated shards")
        examples = ratings.group_by("video_id", "start", maintain_order=True).agg(
            pl.col("file", "first_frame", "frames", "classes").first(), rated="class_id", relevance="relevance"
        )
        self._clips = Clips(store, examples)
        self._starts = examples["start"].to_numpy().astype(np.int64)
        self._sampler, self._dataset = sampler, store.dataset
        self._rated = [(np.asarray(c), np.asarray(r) > 0) for c, r in examples.select("rated", "relevance").rows()]
        self._labels = examples["classes"].to_list()
        self._scored = np.asarray(store.dataset.scored_classes)
        self._label_mask, self._varied = label_mask, varied
        self._unrated = UnratedWindows(store, sampler, consistency) if consistency else None

    def __len__(self) -> int:
        return len(self._clips)

    def batch(self, rows: np.ndarray, rng: np.random.Generator, part: slice = ALL) -> Batch:
        starts, frames = self._starts[rows], self._clips.frames[rows]
        drawn = self._sampler.draw(starts, np.full(len(rows), self._dataset.segment_frames), self._dataset, rng)
        is_there = drawn < frames[:, None]
        if self._varied:
            places, moved = vary(starts, self._dataset.segment_frames, self._varied, rng)
            drawn = np.take_along_axis(places, drawn - starts[:, None], axis=1)
            drawn, starts = at_edges(drawn, frames, self._dataset), moved
        drawn = np.where(is_there, drawn, PADDING)
        unrated = None
        if self._unrated is not None:
            first, end, _ = part.indices(len(rows))
            unrated = self._unrated.draw(len(rows) // EXAMPLES, rng, slice(first // EXAMPLES, end // EXAMPLES))
        windows, rows = self._sampler.in_context(drawn, starts, frames)[part], rows[part]
        labels = np.zeros((len(rows), self._dataset.classes), dtype=np.float32)
        for label, row in zip(labels, rows, strict=True):
            classes, positive = self._rated[row]
            label[classes] = positive
        batch = _batch(self._clips, rows, windows, self._sampler, labels, self._mask(rows, labels))
        return replace(batch, unrated=unrated)

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
    frames, times = clips.draws(entries, rows, weighted=sampler.weighted)
    return Batch(frames, labels, mask, times)


def batch_rows(step: int, size: int, count: int, seed: int) -> np.ndarray:
    """The examples (size,) of a step, from consecutive shuffled epochs over `count` examples.

    A function of its arguments alone, so training can resume at any step.
    """
    positions = range(step * size, (step + 1) * size)
    epochs = range(positions[0] // count, positions[-1] // count + 1)
    passes = {epoch: _shuffled(seed, epoch, count) for epoch in epochs}
    return np.array([passes[position // count][position % count] for position in positions])


@functools.lru_cache(maxsize=2)  # shuffling millions of examples takes longer than a step
def _shuffled(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(count)
