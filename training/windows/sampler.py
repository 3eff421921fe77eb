"""Samplers: which frames of a video make a window."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from training.limits import at_least, one_of
from videos.dataset import Dataset

PADDING = -1  # a row that is no frame: its features are exact zeros
Draw = Literal["sequence", "frames"]
SAVING = 0.75  # frames are weighted where no more than this share of the draws is left: weights cost something too


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
                raise ValueError(f"Sampler: {name} is {value}, which the kind {self.kind!r} does not use; leave it out")

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
