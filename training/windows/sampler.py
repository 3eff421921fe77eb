"""Samplers: the choice of a window's frames."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from training.limits import at_least, one_of
from videos.dataset import Dataset

PADDING = -1  # a row without a frame; its features are zeros
Draw = Literal["sequence", "frames"]
SAVING = 0.75  # repeated frames are merged only if at most this share of the draws is left, since weights have a cost


@dataclass(frozen=True)
class Sampler:
    """How the frames of a window are chosen: consecutive frames (`sequence`) or draws with replacement (`frames`).

    `frames` is the number of draws; None means the length of a segment. `weighted` merges repeated draws into one
    frame with a weight if that shortens windows; only for models whose output stays the same. Context-aware models
    also get `surroundings` frames on each side of the sequence and `video_frames` spread evenly over the video.

    At inference each frame of a segment gets an equal share of the draws. With an `inference_seed` frames are drawn at
    random instead, as in the original: a function of seed, segment id and shift.
    """

    kind: Draw
    frames: int | None = None
    weighted: bool = False
    surroundings: int = 0
    video_frames: int = 0
    inference_seed: int | None = None

    def __post_init__(self) -> None:
        one_of(self, get_args(Draw), kind=self.kind)
        at_least(self, 0, surroundings=self.surroundings, video_frames=self.video_frames)
        if self.frames is not None:
            at_least(self, 1, frames=self.frames)
        if self.inference_seed is not None:
            at_least(self, 0, inference_seed=self.inference_seed)
        draws_only = {"frames": self.frames, "inference_seed": self.inference_seed, "weighted": self.weighted or None}
        runs_only = {"surroundings": self.surroundings or None, "video_frames": self.video_frames or None}
        for name, value in (draws_only if self.kind == "sequence" else runs_only).items():
            if value is not None:
                raise ValueError(f"Sampler: {name} is {value}, which the kind {self.kind!r} does not use; omit it")

    def length(self, segment_frames: int) -> int:
        """The number of frames of a window of a segment of `segment_frames` frames."""
        return (self.frames or segment_frames) + 2 * self.surroundings + self.video_frames

    def draw(self, starts: np.ndarray, counts: np.ndarray, dataset: Dataset, rng: np.random.Generator) -> np.ndarray:
        """Rows (B, draws) for training, out of `counts` (B,) rows from `starts` (B,) on.

        A sequence longer than that repeats the last row.
        """
        drawn = self.frames or dataset.segment_frames
        if self.kind == "frames":
            return starts[:, None] + (rng.random((len(starts), drawn)) * counts[:, None]).astype(np.int64)
        first = (rng.random(len(starts)) * (np.maximum(counts - drawn, 0) + 1)).astype(np.int64)
        return starts[:, None] + np.minimum(first[:, None] + np.arange(drawn), counts[:, None] - 1)

    def in_context(self, rows: np.ndarray, starts: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """`rows` (B, draws) of windows that begin at `starts`, with context, in videos of `frames` (B,) frames.

        The order is: before, rows, after, whole video. Rows outside the video are PADDING.
        """
        if not self.surroundings and not self.video_frames:
            return rows
        offsets = starts[:, None] + np.arange(self.surroundings)
        before, after = offsets - self.surroundings, offsets + rows.shape[1]
        sides = [np.where((side >= 0) & (side < frames[:, None]), side, PADDING) for side in (before, after)]
        return np.concatenate([sides[0], rows, sides[1], spread(frames, self.video_frames)], axis=1)

    def weights(self, valid: np.ndarray, segments: Sequence[str], shift: int, dataset: Dataset) -> np.ndarray:
        """Weights (B, T) of a window's frames at inference: how many draws fall on each of the first `valid` (B,).

        `segments` are the B ids. Every frame of a sequence has weight 1.
        """
        draws = self.length(dataset.segment_frames)
        if self.kind == "sequence":
            return np.ones((len(valid), draws), dtype=np.float32)
        if self.inference_seed is None:
            return draws_per_frame(valid, dataset.segment_frames, draws)
        keys = [(self.inference_seed, zlib.crc32(f"{segment} {shift}".encode())) for segment in segments]
        drawn = [np.random.default_rng(key).integers(n, size=draws) for key, n in zip(keys, valid, strict=True)]
        return np.stack([np.bincount(rows, minlength=dataset.segment_frames) for rows in drawn]).astype(np.float32)


def draws_per_frame(valid: np.ndarray, length: int, draws: int) -> np.ndarray:
    """`draws` distributed evenly over the first `valid` (B,) of `length` frames: counts (B, length)."""
    rows = np.arange(length)
    share = draws // valid[:, None] + (rows < draws % valid[:, None])
    return np.where(rows < valid[:, None], share, 0).astype(np.float32)


def multiplicities(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values in each row of `rows` (B, T) and their counts; both (B, U), filled by PADDING and 0."""
    ordered = np.sort(rows, axis=1)
    is_new = np.ones(rows.shape, dtype=bool)
    is_new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    column = is_new.cumsum(axis=1) - 1
    distinct = np.full((len(rows), column.max() + 1), PADDING)
    counts = np.zeros(distinct.shape, dtype=np.float32)
    np.put_along_axis(distinct, column, ordered, axis=1)
    np.add.at(counts, (np.arange(len(rows))[:, None], column), 1)
    return distinct, counts


def spread(frames: np.ndarray, count: int) -> np.ndarray:
    """`count` rows (B, count) spread evenly over videos of `frames` (B,); of shorter videos all, then PADDING."""
    columns = np.arange(count)
    even = (2 * columns + 1) * frames[:, None] // max(2 * count, 1)
    short = np.where(columns < frames[:, None], columns, PADDING)
    return np.where(frames[:, None] > count, even, short)
