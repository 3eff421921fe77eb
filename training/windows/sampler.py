"""Samplers: which frames of a video make a window."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

import numpy as np

from training.limits import Limited, Natural, at_least, later
from videos.dataset import Dataset

PADDING = -1  # a row without a frame: its features are exact zeros
Draw = Literal["sequence", "frames"]
SAVING = 0.75  # frames are weighted if at most this share of the draws is distinct: weights have a cost too


@dataclass(frozen=True)
class Sampler(Limited):
    """Selects the frames of a window: a sequence of consecutive ones, or frames drawn with replacement.

    `frames` is the number of draws, by default the length of a segment. With `weighted`, a frame drawn several times is
    given to the model once with its number of draws, if that shortens the window enough (`SAVING`). A context-aware
    model also gets `surroundings` frames on each side of the sequence, and `video_frames` spread evenly over the video.

    At inference, the draws are divided equally among a segment's frames. With an `inference_seed` they are random
    instead, as in the original: a function of that seed, the segment's id and the shift.

    The surroundings of a `weak` sampler count as much as the sequence in pre-training, whose labels are of the whole
    video, and not at all at inference.
    """

    kind: Draw
    frames: Annotated[int | None, at_least(1)] = None
    weighted: bool = False
    surroundings: Natural = 0
    video_frames: Natural = 0
    inference_seed: Annotated[int | None, at_least(0)] = None
    weak: bool = later(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        unused = (
            ("surroundings", "video_frames", "weak")
            if self.kind == "frames"
            else ("frames", "inference_seed", "weighted")
        )
        for field in fields(self):
            value = vars(self)[field.name]
            if field.name in unused and value != field.default:
                raise ValueError(
                    f"Sampler: {field.name} is {value}, which the kind {self.kind!r} does not use; leave it out"
                )

    def length(self, segment_frames: int) -> int:
        """The number of frames of a window, where a segment has `segment_frames`."""
        return (self.frames or segment_frames) + 2 * self.surroundings + self.video_frames

    def draw(self, starts: np.ndarray, counts: np.ndarray, dataset: Dataset, rng: np.random.Generator) -> np.ndarray:
        """Random rows (B, drawn) for training, each window's among the `counts` (B,) rows from `starts` (B,) on.

        If there are fewer rows than a sequence needs, the last one is repeated.
        """
        drawn = self.frames or dataset.segment_frames
        if self.kind == "frames":
            return starts[:, None] + (rng.random((len(starts), drawn)) * counts[:, None]).astype(np.int64)
        first = (rng.random(len(starts)) * (np.maximum(counts - drawn, 0) + 1)).astype(np.int64)
        return starts[:, None] + np.minimum(first[:, None] + np.arange(drawn), counts[:, None] - 1)

    def in_context(self, rows: np.ndarray, starts: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """`rows` (B, drawn) of windows that begin at `starts`, with their context, in videos of `frames` frames.

        The order is: rows before, `rows`, rows after, rows spread over the video. Rows outside the video are PADDING.
        """
        offsets = np.arange(self.surroundings)
        before = starts[:, None] - self.surroundings + offsets
        after = starts[:, None] + rows.shape[1] + offsets
        near = [np.where((side >= 0) & (side < frames[:, None]), side, PADDING) for side in (before, after)]
        return np.concatenate([near[0], rows, near[1], spread(frames, self.video_frames)], axis=1)

    def equal_draws(self, segment_frames: int) -> int | None:
        """The number of draws that are divided equally among a segment's frames at inference; None for a sequence."""
        return None if self.kind == "sequence" else self.length(segment_frames)

    def weights(self, valid: np.ndarray, segments: Sequence[str], shift: int, dataset: Dataset) -> np.ndarray:
        """Weights (B, T) of a window's frames at inference: how many of the sampler's draws fall on each frame.

        Only the first `valid` (B,) frames exist; `segments` are the B ids. In a sequence every row counts once.
        """
        draws = self.length(dataset.segment_frames)
        if self.kind == "sequence":
            weights = np.ones((len(valid), draws), dtype=np.float32)
            if self.weak:
                weights[:, : self.surroundings] = weights[:, self.surroundings + dataset.segment_frames :] = 0
            return weights
        if self.inference_seed is None:
            return draws_per_frame(valid, dataset.segment_frames, draws)
        keys = [(self.inference_seed, zlib.crc32(f"{segment} {shift}".encode())) for segment in segments]
        drawn = [np.random.default_rng(key).integers(n, size=draws) for key, n in zip(keys, valid, strict=True)]
        return np.stack([np.bincount(rows, minlength=dataset.segment_frames) for rows in drawn]).astype(np.float32)


def draws_per_frame(valid: np.ndarray, length: int, draws: int) -> np.ndarray:
    """`draws` divided equally among the first `valid` (B,) of `length` frames, earlier ones first: (B, T)."""
    positions = np.arange(length)
    share = draws_at(positions, draws, valid[:, None])
    return np.where(positions < valid[:, None], share, 0).astype(np.float32)


def draws_at(position: Any, draws: int, valid: Any) -> Any:
    """How many of `draws` fall on the frame at `position` below `valid`, divided equally, earlier frames first.

    For arrays and tensors of any framework: logged models compute it from the frames that they are given.
    """
    return (draws - 1 - position + valid) // valid


def multiplicities(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per row of `rows` (B, T) its distinct values, ascending, and their counts: (B, U), filled with PADDING and 0."""
    ordered = np.sort(rows, axis=1)
    is_new = np.ones(rows.shape, dtype=bool)
    is_new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    position = is_new.cumsum(axis=1) - 1
    most = int(position.max()) + 1
    distinct = np.full((len(rows), most), PADDING)
    np.put_along_axis(distinct, position, ordered, axis=1)
    times = np.bincount((np.arange(len(rows))[:, None] * most + position).ravel(), minlength=distinct.size)
    return distinct, times.reshape(distinct.shape).astype(np.float32)


def spread(frames: np.ndarray, count: int) -> np.ndarray:
    """`count` rows (B, count) spread evenly over clips of `frames` (B,) frames; shorter clips end in PADDING."""
    positions = np.arange(count)
    even = (2 * positions + 1) * frames[:, None] // max(2 * count, 1)
    short = np.where(positions < frames[:, None], positions, PADDING)
    return np.where(frames[:, None] > count, even, short)
