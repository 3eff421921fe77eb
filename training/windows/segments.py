"""The windows of segments under a shift: what prediction reads."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from training.windows.clips import Clips
from training.windows.sampler import PADDING, Sampler
from videos.dataset import Dataset
from videos.store import FrameStore


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
    """The segments of a split (`videos.dataset.segments_of`, or some of its rows) under any shift."""

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
