"""The frame store: one memory-mapped frames file a shard, an index of videos, judgments, and their description.

A frame store is a folder that holds

- `frames/<shard>.npy`: one row a frame, the modalities side by side in the order of `dataset.json`;
- `videos.parquet`: video_id str, split str, file str (relative to the folder), first_frame i64, frames i32,
  classes list[u16]; ordered as the frames lie, no video twice;
- `judgments.parquet`: class_id u16, segment_id str, relevance i16, of the finetune and the holdout split together;
- `dataset.json`: `videos.dataset.Dataset`, written last: without it the folder is no frame store;
- `ingest.json`: what the store was made from, so that the same ingest is recognised.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from videos.dataset import SPLITS, Dataset, read_dataset, read_store_table, read_videos

VIDEOS = pl.Schema(
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


@dataclass(frozen=True)
class FrameStore:
    """An open frame store; frames are mapped into memory file by file, when they are asked for."""

    folder: Path
    dataset: Dataset
    videos: pl.DataFrame
    judgments: pl.DataFrame
    _mapped: dict[str, np.memmap] = field(default_factory=dict, repr=False, compare=False)

    def frames(self, file: str) -> np.memmap:
        """The frames file `file` (a value of the column of that name): (rows, width), read-only."""
        if file not in self._mapped:
            if len(self._mapped) == MAPPED_FILES:
                del self._mapped[next(iter(self._mapped))]
            self._mapped[file] = np.load(self.folder / file, mmap_mode="r")
        return self._mapped[file]

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
    """Open the frame store in `folder`; ValueError with the remedy when there is none or a file of it is damaged."""
    return FrameStore(folder, read_dataset(folder), read_videos(folder), read_store_table(folder / "judgments.parquet"))
