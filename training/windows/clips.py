"""Frames of clips, read from the frame store and dequantised."""

import numpy as np
import polars as pl

from training.windows.sampler import PADDING
from videos.store import FrameStore

# A quantised value q in 0..255 is q * 4/255 + 4/512 - 2 (YouTube-8M's starter code; AudioSet uses the same).
LEVELS = (np.arange(256) * (4 / 255) + (4 / 512 - 2)).astype(np.float32)
FILE_BITS = 40  # the bits of a frame's row in a key; the file's number is above them


class Clips:
    """Frames of N videos, or of the videos of N segments, read by entry (0..N-1) and row."""

    def __init__(self, store: FrameStore, table: pl.DataFrame):
        """`table` (N rows) has the columns file, first_frame and frames; row 0 is the video's first frame."""
        self._store = store
        self.first = table["first_frame"].to_numpy()
        self.frames = np.minimum(table["frames"].to_numpy(), store.dataset.max_frames).astype(np.int64)
        self._files = table["file"].unique().sort().to_list()
        self._file = table["file"].rank("dense").to_numpy().astype(np.int64) - 1

    def __len__(self) -> int:
        return len(self.first)

    def distinct(self, entries: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The distinct frames (F, D), dequantised, of `rows` (B, T) of the clips `entries` (B,), and the index of each
        row in them (B, T). PADDING rows are zeros."""
        dataset = self._store.dataset
        first = (self._file[entries] << FILE_BITS) + self.first[entries]
        places, index = np.unique(np.where(rows == PADDING, PADDING, first[:, None] + rows), return_inverse=True)
        raw = np.empty((len(places), dataset.width), dtype=dataset.dtype)
        file, place = places >> FILE_BITS, places & ((1 << FILE_BITS) - 1)
        for number in np.unique(file[places != PADDING]):
            part = slice(*np.searchsorted(file, [number, number + 1]))
            raw[part] = self._store.frames(self._files[number])[place[part]]
        frames = LEVELS[raw] if dataset.dtype == "uint8" else raw
        frames[places == PADDING] = 0.0
        return frames, index.reshape(rows.shape)

    def gather(self, entries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Dequantised features (B, T, D) of `rows` (B, T) of the clips `entries` (B,); PADDING rows are zeros."""
        frames, index = self.distinct(entries, rows)
        return frames[index]
