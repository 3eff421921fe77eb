"""The frame store: one frames file per shard, an index of videos, judgments and a description.

A frame store is a folder with `dataset.json` (`videos.dataset.Dataset`) and the folder that its field `content` names
(`content-1`, `content-2`, ...). The content has

- `frames/<shard>.npy`: one row per frame; its columns are the modalities in the order of `dataset.json`;
- `videos.parquet`: video_id str, split str, file str (relative to the content), first_frame i64, frames i32,
  classes list[u16]; one row per video, in the order of the frames in the files;
- `judgments.parquet`: class_id u16, segment_id str, relevance i16, of the splits finetune and holdout;
- `ingest.json` (`videos.store_writing.Ingest`): the inputs and what was left out or repaired.

A folder without `dataset.json`, which is written last and atomically, is not a frame store. Older stores have no field
`content`: their files are next to `dataset.json`.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl

from videos.dataset import SPLITS, Dataset, damaged_store, read_description, read_store_table

VIDEO_INDEX = pl.Schema(
    {
        "video_id": pl.String,
        "split": pl.String,
        "file": pl.String,
        "first_frame": pl.Int64,
        "frames": pl.Int32,
        "classes": pl.List(pl.UInt16),
    }
)


OPEN_FILES = 256  # YouTube-8M has more shards than a process may open files


class OpenFile:
    """An open frames file; closed when the last reference to it goes, so that a thread may still read from it."""

    def __init__(self, path: Path):
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError as error:
            raise damaged_store(path, error) from error
        # No read-ahead: a window is a few kilobytes, a read-ahead window megabytes.
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_RANDOM)

    def read(self, first: int, rows: np.ndarray) -> None:
        """Fill `rows` (n, width) with the rows from `first` on."""
        offset = _header_bytes(rows.dtype.str, rows.shape[1]) + first * rows.strides[0]
        count = os.preadv(self._descriptor, [rows.data], offset)
        if count < rows.nbytes:
            raise damaged_store(self._path, ValueError(f"it ends before row {first + len(rows)}"))

    def __del__(self) -> None:
        if "_descriptor" in vars(self):
            os.close(self._descriptor)


@cache
def _header_bytes(dtype: str, width: int) -> int:
    """The length of a frames file's header, which its number of rows does not change; reading it costs a page."""
    stream = BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": (0, width)})
    return stream.tell()


@dataclass(frozen=True)
class FrameStore:
    """An open frame store. `content` is the folder of its files. Thread-safe."""

    folder: Path
    content: Path
    dataset: Dataset
    videos: pl.DataFrame
    judgments: pl.DataFrame
    _open: Callable[[Path], OpenFile] = field(
        default_factory=lambda: lru_cache(OPEN_FILES)(OpenFile), repr=False, compare=False
    )

    def frames(self, file: str) -> np.memmap:
        """The frames file `file` (a value of the column of that name), mapped: (rows, width), read-only."""
        try:
            return np.load(self.content / file, mmap_mode="r")
        except (FileNotFoundError, ValueError) as error:
            raise damaged_store(self.content / file, error) from error

    def read(self, file: str, first: int, rows: np.ndarray) -> None:
        """Fill `rows` (n, width) of the dataset's dtype with the rows of `file` from `first` on."""
        self._open(self.content / file).read(first, rows)

    def split(self, name: str) -> pl.DataFrame:
        """The videos of one split, in the order of the index."""
        if name not in SPLITS:
            raise ValueError(f"there is no split {name!r}; the splits are {', '.join(SPLITS)}")
        return self.videos.filter(pl.col("split") == name)

    def judged(self, segments: pl.DataFrame) -> pl.DataFrame:
        """The judgments of `segments` (a table with segment_id)."""
        return self.judgments.join(segments.select("segment_id"), on="segment_id", how="semi")

    def __reduce__(self):
        # Another process opens the store itself: pickling a mapped file would copy its content.
        return open_frames, (self.folder,)


def open_frames(folder: Path) -> FrameStore:
    """Open the frame store in `folder`; ValueError if there is none or one of its files is damaged."""
    dataset, content = read_description(folder)
    try:
        videos, judgments = (read_store_table(content / f"{name}.parquet") for name in ("videos", "judgments"))
    except ValueError:
        if read_description(folder)[1] == content:
            raise
        return open_frames(folder)  # another process has replaced the store in the meantime
    return FrameStore(folder, content, dataset, videos, judgments)
