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

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
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


MAPPED_FILES = 256  # a mapped file holds a file descriptor, and the real set has more shards than a process may open


def _map_file(path: Path) -> np.memmap:
    try:
        return np.load(path, mmap_mode="r")
    except (FileNotFoundError, ValueError) as error:
        raise damaged_store(path, error) from error


@dataclass(frozen=True)
class FrameStore:
    """An open frame store. `content` is the folder of its files. Thread-safe."""

    folder: Path
    content: Path
    dataset: Dataset
    videos: pl.DataFrame
    judgments: pl.DataFrame
    _map: Callable[[Path], np.memmap] = field(
        default_factory=lambda: lru_cache(MAPPED_FILES)(_map_file), repr=False, compare=False
    )

    def frames(self, file: str) -> np.memmap:
        """The frames file `file` (a value of the column of that name): (rows, width), read-only."""
        return self._map(self.content / file)

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
