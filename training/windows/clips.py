"""Frames of clips, read from the frame store and dequantised."""

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl

from training.windows.sampler import PADDING
from videos.store import FrameStore

# A quantised value q in 0..255 stands for q * 4/255 + 4/512 - 2 (YouTube-8M's starter code; AudioSet uses the same).
LEVELS = (np.arange(256) * (4 / 255) + (4 / 512 - 2)).astype(np.float32)
FILE_BITS = 40  # the bits of a frame's row in a key; the file's number is above them
GAP = 4  # rows at most this far apart are read at once: a page of the disk is as large
READERS = 8  # threads: reads of a cold disk wait for it, not for the processor


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(READERS, "frames")


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
        present = slice(np.searchsorted(places, 0), None)  # PADDING is sorted first
        self._read(places[present], raw[present])
        frames = LEVELS[raw] if dataset.dtype == "uint8" else raw
        frames[places == PADDING] = 0.0
        return frames, index.reshape(rows.shape)

    def _read(self, keys: np.ndarray, raw: np.ndarray) -> None:
        """Fill `raw` (F, D) with the frames of `keys` (F,), ascending: file number and row. Several reads at a time."""
        ends = np.append(np.flatnonzero(np.diff(keys) > GAP) + 1, len(keys))
        starts = np.append(0, ends[:-1])

        def read(part: slice) -> None:
            for a, b in zip(starts[part].tolist(), ends[part].tolist(), strict=True):
                first, count = int(keys[a]), int(keys[b - 1] - keys[a]) + 1
                rows = raw[a:b] if count == b - a else np.empty((count, raw.shape[1]), raw.dtype)
                self._store.read(self._files[first >> FILE_BITS], first & ((1 << FILE_BITS) - 1), rows)
                if count > b - a:
                    raw[a:b] = rows[keys[a:b] - first]

        size = -(-len(starts) // READERS)
        if len(keys):
            list(_pool().map(read, [slice(i, i + size) for i in range(0, len(starts), size)]))

    def gather(self, entries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Dequantised features (B, T, D) of `rows` (B, T) of the clips `entries` (B,); PADDING rows are zeros."""
        frames, index = self.distinct(entries, rows)
        return frames[index]
