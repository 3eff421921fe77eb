"""Windows of unrated videos for the consistency term of fine-tuning: one of the paper's future directions.

What is visible in a window is mostly visible a second later too, so a model should predict nearly the same for a window
and for itself shifted by a frame or two. That needs no rating.

Shapes: U windows, T frames of a window, D features of a frame.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from training.windows.clips import Clips, StoredFrames
from training.windows.sampler import PADDING, Sampler
from training.windows.segments import at_edges
from training.windows.variation import random_shifts
from videos.store import FrameStore

EXAMPLES = 4  # examples of a batch per window of an unrated video


@dataclass(frozen=True)
class Unrated:
    """Windows of unrated videos, each followed by itself shifted: frames (2 U, T, D).

    `frame_weights` (2 U, T) as those of a batch; `consistency` is the factor of the term in the loss.
    """

    frames: StoredFrames
    frame_weights: np.ndarray | None
    consistency: float

    def map(self, change: Callable[[np.ndarray], np.ndarray]) -> "Unrated":
        """The windows with `change` applied to each array."""
        weights = None if self.frame_weights is None else change(self.frame_weights)
        return Unrated(self.frames.map(change), weights, self.consistency)


class UnratedWindows:
    """Windows at random places of the videos of the split pretrain, which has no rated video."""

    def __init__(self, store: FrameStore, sampler: Sampler, consistency: float):
        self._clips = Clips(store, unrated_videos(store))
        self._sampler, self._dataset, self._consistency = sampler, store.dataset, consistency

    def draw(self, count: int, rng: np.random.Generator, part: slice) -> Unrated:
        """The windows `part` of `count` windows, each with itself shifted by 1 to FURTHEST frames to either side.

        Videos are drawn with replacement. Rows outside the video follow the dataset's rule, as in prediction.
        """
        entries = rng.integers(len(self._clips), size=count)
        frames, length = self._clips.frames[entries], self._dataset.segment_frames
        starts = rng.integers(np.maximum(frames - length, 0) + 1)
        drawn = self._sampler.draw(starts, np.full(count, length), self._dataset, rng)
        is_there = drawn < frames[:, None]
        pairs = []
        for shift in (np.zeros_like(starts), random_shifts(count, rng)):
            rows = np.where(is_there, at_edges(drawn + shift[:, None], frames, self._dataset), PADDING)
            pairs.append(self._sampler.in_context(rows, starts + shift, frames))
        windows = np.stack(pairs, axis=1)[part]
        rows = windows.reshape(-1, windows.shape[-1])
        gathered, weights = self._clips.draws(np.repeat(entries[part], 2), rows, weighted=self._sampler.weighted)
        return Unrated(gathered, weights, self._consistency)


def unrated_videos(store: FrameStore) -> pl.DataFrame:
    """The videos of the split pretrain; ValueError if there are none."""
    videos = store.videos.filter(pl.col("split") == "pretrain", pl.col("frames") > 0)
    if videos.is_empty():
        raise ValueError(
            f"{store.folder} has no unrated video, which consistency needs; ingest shards without ratings, or leave "
            "consistency out of the schedule"
        )
    return videos
