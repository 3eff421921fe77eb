"""Frames of clips, read from the frame store."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from training.windows.sampler import PADDING, SAVING, multiplicities
from videos.store import FrameStore, expect

# A quantised value q in 0..255 is q * 4/255 + 4/512 - 2 (YouTube-8M's starter code; AudioSet uses the same).
LEVELS = (np.arange(256) * (4 / 255) + (4 / 512 - 2)).astype(np.float32)
FILE_BITS = 40  # the bits of a frame's row in a key; the file's number is above them


@dataclass(frozen=True)
class StoredFrames:
    """Frames as the store has them: `values` (..., D), quantised (uint8) or features (float32).

    `padding` (...) is True for rows without a frame, whose features are zeros; None if there are none. An estimator
    dequantises on its device, so that a quarter of the bytes travels there.
    """

    values: np.ndarray
    padding: np.ndarray | None = None

    def features(self) -> np.ndarray:
        """The features (..., D) f32."""
        features = LEVELS[self.values] if self.values.dtype == np.uint8 else self.values
        return features if self.padding is None else np.where(self.padding[..., None], np.float32(0), features)

    def map(self, change: Callable[[np.ndarray], np.ndarray]) -> "StoredFrames":
        """The frames with `change` applied to each array."""
        return StoredFrames(change(self.values), None if self.padding is None else change(self.padding))

    def __getitem__(self, part: slice | np.ndarray) -> "StoredFrames":
        return StoredFrames(self.values[part], None if self.padding is None else self.padding[part])


class Clips:
    """Frames of N videos, or of the videos of N segments, read by entry (0..N-1) and row.

    All rows of a batch are asked for before the first is copied, so that a disk reads them side by side.
    """

    def __init__(self, store: FrameStore, table: pl.DataFrame):
        """`table` (N rows) has the columns file, first_frame and frames; row 0 is the video's first frame."""
        self._store = store
        self.first = table["first_frame"].to_numpy()
        self.frames = np.minimum(table["frames"].to_numpy(), store.dataset.max_frames).astype(np.int64)
        self._files = table["file"].unique().sort().to_list()
        self._file = table["file"].rank("dense").to_numpy().astype(np.int64) - 1

    def __len__(self) -> int:
        return len(self.first)

    def distinct(self, entries: np.ndarray, rows: np.ndarray) -> tuple[StoredFrames, np.ndarray]:
        """The distinct frames (F, D) of `rows` (B, T) of the clips `entries` (B,), and the index of each row in them
        (B, T)."""
        first = (self._file[entries] << FILE_BITS) + self.first[entries]
        places, index = np.unique(np.where(rows == PADDING, PADDING, first[:, None] + rows), return_inverse=True)
        padding = places == PADDING
        # A run: consecutive rows of one file.
        begins = np.diff(places, prepend=PADDING - 1) != 1
        begins[1:] |= padding[:-1]
        starts = np.flatnonzero(begins & ~padding)
        ends = np.append(starts[1:], len(places))
        files = [self._frames(number) for number in (places[starts] >> FILE_BITS).tolist()]
        first_rows = places[starts] & ((1 << FILE_BITS) - 1)
        runs = list(zip(files, first_rows.tolist(), starts.tolist(), ends.tolist(), strict=True))
        values = self._empty(len(places))
        for file, row, start, end in runs:
            expect(file, row, row + end - start)
        for file, row, start, end in runs:
            values[start:end] = file[row : row + end - start]
        return StoredFrames(values, padding if padding.any() else None), index.reshape(rows.shape)

    def gather(self, entries: np.ndarray, rows: np.ndarray) -> StoredFrames:
        """`rows` (B, T) of the clips `entries` (B,): (B, T, D)."""
        padding = rows == PADDING
        places = self.first[entries, None] + np.where(padding, np.maximum(rows.max(axis=1, keepdims=True), 0), rows)
        files = [self._frames(number) for number in self._file[entries].tolist()]
        for file, first, last in zip(files, places.min(axis=1).tolist(), places.max(axis=1).tolist(), strict=True):
            expect(file, first, last + 1)
        values = self._empty(*rows.shape)
        for window, file, file_rows in zip(values, files, places, strict=True):
            file.take(file_rows, axis=0, out=window, mode="clip")  # the default mode copies twice
        return StoredFrames(values, padding if padding.any() else None)

    def draws(self, entries: np.ndarray, rows: np.ndarray, *, weighted: bool) -> tuple[StoredFrames, np.ndarray | None]:
        """As `gather`, and None; if `weighted`, each frame of a window once (B, U, D) and its number of draws (B, U).

        Frames are not weighted if that saves too little (`SAVING`).
        """
        if weighted:
            distinct, times = multiplicities(rows)
            if distinct.shape[1] <= SAVING * rows.shape[1]:
                return self.gather(entries, distinct), times
        return self.gather(entries, rows), None

    def _frames(self, number: int) -> np.memmap:
        return self._store.frames(self._files[number])

    def _empty(self, *shape: int) -> np.ndarray:
        dataset = self._store.dataset
        return np.empty((*shape, dataset.width), dtype=dataset.dtype)
