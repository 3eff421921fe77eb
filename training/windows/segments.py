"""The windows of segments under a shift, for prediction."""

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
    """B windows over F distinct frames (F, D): `index` (B, T) selects a window's frames.

    `frame_weights` (B, T) are the number of draws that fall on each frame.
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
        """The windows of the segments `entries` (N,) under each shift, ordered by shift and then by entry."""
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
    """Frames (B, T) of segments under a shift; a shift of +s looks s frames EARLIER.

    `roll` rotates the video within `max_frames` rows, with PADDING beyond its end, as the original does; `clamp`
    repeats the first or last frame. Frames that a short last segment lacks are PADDING under either rule.
    """
    unshifted = starts[:, None] + np.arange(dataset.segment_frames)
    places = unshifted - shift
    if dataset.edge == "clamp":
        return np.where(unshifted < counts[:, None], np.clip(places, 0, counts[:, None] - 1), PADDING)
    places %= dataset.max_frames
    return np.where(places < counts[:, None], places, PADDING)
