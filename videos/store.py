"""The frame store: one memory-mapped frames file per shard, an index of videos, judgments and a description.

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

import mmap
import resource
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import cast

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


MAPPED_FILES = 8192  # that stay open; the real set has 7,688 shards, and opening one takes longer than reading a window
_HEADER = threading.Lock()  # Python 3.11 may fail to parse literals in two threads at once (cpython issue 106905)


def _map_file(path: str) -> np.memmap:
    try:
        with _HEADER:
            return np.load(path, mmap_mode="r")
    except (FileNotFoundError, ValueError) as error:
        raise damaged_store(Path(path), error) from error


def _mapped_files() -> int:
    """How many files may stay mapped: each holds a file descriptor, of which half are left to others."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = max(soft, 2 * MAPPED_FILES if hard == resource.RLIM_INFINITY else min(hard, 2 * MAPPED_FILES))
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return min(MAPPED_FILES, allowed // 2)


def expect(frames: np.memmap, first: int, end: int) -> None:
    """Start to read the rows `first` to `end` (exclusive) of a frames file from disk; returns at once.

    A page that is first touched instead makes the operating system read its surroundings too, two hundred times more.
    """
    width = frames.strides[0]
    start = (frames.offset + first * width) // mmap.PAGESIZE * mmap.PAGESIZE
    cast(mmap.mmap, frames.base).madvise(mmap.MADV_WILLNEED, start, frames.offset + end * width - start)


@dataclass(frozen=True)
class FrameStore:
    """An open frame store. `content` is the folder of its files. Thread-safe."""

    folder: Path
    content: Path
    dataset: Dataset
    videos: pl.DataFrame
    judgments: pl.DataFrame
    _map: Callable[[str], np.memmap] = field(
        default_factory=lambda: lru_cache(_mapped_files())(_map_file), repr=False, compare=False
    )

    def frames(self, file: str) -> np.memmap:
        """The frames file `file` (a value of the column of that name): (rows, width), read-only."""
        return self._map(f"{self.content}/{file}")

    def split(self, name: str) -> pl.DataFrame:
        """The videos of one split, in the order of the index."""
        if name not in SPLITS:
            raise ValueError(f"there is no split {name!r}; the splits are {', '.join(SPLITS)}")
        return self.videos.filter(pl.col("split") == name)

    def judged(self, segments: pl.DataFrame) -> pl.DataFrame:
        """The judgments of `segments` (a table with segment_id)."""
        return self.judgments.join(segments.select("segment_id"), on="segment_id", how="semi")

    def without_holdout(self) -> "FrameStore":
        """The same store with the holdout's videos in the split finetune."""
        if self.split("holdout").is_empty():
            return self
        return replace(self, videos=self.videos.with_columns(pl.col("split").replace("holdout", "finetune")))

    def __reduce__(self):
        # Another process opens the store itself: pickling a mapped file would copy its content.
        return _reopened, (self.folder, self.split("holdout").is_empty())


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


def _reopened(folder: Path, has_no_holdout: bool) -> FrameStore:
    store = open_frames(folder)
    return store.without_holdout() if has_no_holdout else store
