"""Windows of segments under a shift, for inference."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from training.windows.clips import Clips, StoredFrames
from training.windows.sampler import PADDING, Sampler
from videos.dataset import Dataset
from videos.store import FrameStore


@dataclass(frozen=True)
class Windows:
    """Windows that share frames: the distinct `frames` (F, D), the `index` (B, T) of each window's frames in them, and
    `frame_weights` (B, T), the number of draws that fall on each."""

    frames: StoredFrames
    index: np.ndarray
    frame_weights: np.ndarray

    @property
    def features(self) -> np.ndarray:
        """The features of each window (B, T, D) f32."""
        return self.frames.features()[self.index]


class SegmentWindows:
    """The windows of `segments` (rows of `videos.segments.segments_of`) under any shift."""

    def __init__(self, store: FrameStore, segments: pl.DataFrame, sampler: Sampler):
        self._clips = Clips(store, segments)
        self._starts = segments["start"].to_numpy().astype(np.int64)
        self._ids = segments["segment_id"]
        self._dataset, self._sampler = store.dataset, sampler

    def __len__(self) -> int:
        return len(self._clips)

    def at(self, entries: np.ndarray, *shifts: int) -> Windows:
        """The windows of the segments `entries` (N,) under each shift: B = len(shifts) * N, shift by shift."""
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
    """The rows (B, T) of segments under a shift; a shift of +k moves the window k frames EARLIER.

    `roll` rolls the video, padded by zeros to `max_frames` rows, as the original does; `clamp` repeats the first or
    last frame. The rows that a short last segment lacks are PADDING in both.
    """
    unshifted = starts[:, None] + np.arange(dataset.segment_frames)
    shifted = at_edges(unshifted - shift, counts, dataset)
    return np.where(unshifted < counts[:, None], shifted, PADDING) if dataset.edge == "clamp" else shifted


def at_edges(rows: np.ndarray, counts: np.ndarray, dataset: Dataset) -> np.ndarray:
    """`rows` (B, T) of videos of `counts` (B,) frames, those outside by the dataset's rule (`segment_rows`)."""
    if dataset.edge == "clamp":
        return np.clip(rows, 0, counts[:, None] - 1)
    rows = rows % dataset.max_frames
    return np.where(rows < counts[:, None], rows, PADDING)
