"""The frame store, written: whole or not at all."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl

from files.replacing import flush, replacing
from videos.dataset import Dataset, damaged_store, read_dataset, read_description
from videos.judgments import JUDGMENTS, last_of_pairs
from videos.store import VIDEOS

LOCK = ".writing"  # what a process holds while it writes to the folder of a store
CONTENT = re.compile(r"content-(\d+)")
BESIDE = ("ingest.json", "judgments.parquet", "videos.parquet", "frames", "shards")  # content of older stores


class FramesFile:
    """A frames file that is being written: `append` adds the frames of one video. Made by `new_frames`."""

    def __init__(self, stream: BinaryIO, dtype: str, width: int):
        self.dtype = np.dtype(dtype)
        self.width = width
        self.rows = 0
        self._stream = stream
        self._write_header()

    def append(self, rows: np.ndarray) -> int:
        """Add the frames of one video, (frames, width); returns the row of the first."""
        assert rows.ndim == 2
        assert rows.shape[1] == self.width
        first = self.rows
        self._stream.write(np.ascontiguousarray(rows, self.dtype).data)
        self.rows += len(rows)
        return first

    def finish(self) -> None:
        """Write the number of rows into the header."""
        self._stream.seek(0)
        self._write_header()

    def _write_header(self) -> None:
        # numpy pads the header so that the first dimension may grow: it is as long with 0 rows as with any number.
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.rows, self.width),
        }
        np.lib.format.write_array_header_1_0(self._stream, header)


@contextmanager
def new_frames(path: Path, dtype: str, width: int) -> Iterator[FramesFile]:
    """A frames file to append to; it appears at `path` if the block succeeds."""
    with replacing(path) as temporary, open(temporary, "wb") as stream:
        frames_file = FramesFile(stream, dtype, width)
        yield frames_file
        frames_file.finish()


def is_complete(folder: Path, inputs: dict[str, object], force: bool) -> bool:
    """Whether `folder` already holds the frame store made from `inputs`.

    Returns False where a store is to be made: in a new or empty folder, or, with `force`, in place of another store.

    Raises:
        ValueError: the folder holds something else, or a store from other inputs and `force` is not given.
    """
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file; choose a folder")
    if not (folder / "dataset.json").is_file():
        is_ours = (folder / LOCK).exists()  # left by a process that was killed
        if not is_ours and any(folder.iterdir()):
            raise ValueError(f"{folder} is not empty and holds no frame store; choose another folder")
        return False
    if force:
        return False
    if read_ingest(folder).inputs != json.loads(json.dumps(inputs)):
        raise ValueError(
            f"{folder} holds a frame store from other inputs; choose another folder or replace it by --force"
        )
    return True


@contextmanager
def new_store(folder: Path) -> Iterator[Path]:
    """A folder to write the content of a frame store to; `folder` becomes that store if the block succeeds.

    Yields a new folder inside `folder` (which may be a mount point), with an empty `frames`; the block must end with
    `write_index` on it. One atomic replacement of `dataset.json` makes it the content of the store, so that a process
    killed at any moment leaves the old store or the new one. Content that no `dataset.json` names is removed
    afterwards: the old content, what a failed block wrote, and what killed processes left.

    Raises:
        ValueError: another process is writing to `folder`.
    """
    from filelock import FileLock, Timeout

    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / LOCK, timeout=0).acquire()
    except Timeout:
        raise ValueError(f"another process is writing to {folder}; wait for it or choose another folder") from None
    with lock:
        try:
            _remove_unnamed(folder)
            building = folder / f"content-{1 + max(_contents(folder).values(), default=0)}"
            (building / "frames").mkdir(parents=True)
            yield building
            flush(building)
            read_dataset(building).write(folder, building.name)
        finally:
            _remove_unnamed(folder)
            (folder / LOCK).unlink()
            if is_new and not (folder / "dataset.json").exists():
                folder.rmdir()


def _contents(folder: Path) -> dict[Path, int]:
    """The folders of content in `folder` with their numbers."""
    matches = {entry: CONTENT.fullmatch(entry.name) for entry in folder.iterdir()}
    return {entry: int(match[1]) for entry, match in matches.items() if match}


def _remove_unnamed(folder: Path) -> None:
    """Remove the content that `dataset.json` does not name; nothing where it is damaged and may have named any."""
    try:
        content = read_description(folder)[1] if (folder / "dataset.json").exists() else None
    except ValueError:
        return
    was_older = content not in (None, folder)  # files of these names are nobody's but an older store's then
    beside = [folder / name for name in BESIDE if was_older and (folder / name).exists()]
    for unnamed in {*_contents(folder), *beside} - {content}:
        shutil.rmtree(unnamed) if unnamed.is_dir() else unnamed.unlink()


def write_index(
    folder: Path,
    dataset: Dataset,
    videos: pl.DataFrame,
    judgments: pl.DataFrame,
    inputs: dict[str, object],
    skipped: int,
    damaged: int = 0,
) -> Dataset:
    """Write everything of a frame store's content but its frames; returns the dataset with its digest.

    `videos` has the columns of `VIDEOS` and `content`, the SHA-256 of each video's frames as hexadecimal digits.
    Frames files without a video are removed.
    """
    judgments = last_of_pairs(judgments.select(*JUDGMENTS).cast(JUDGMENTS))
    videos = videos.sort("file", "first_frame")
    dataset = replace(dataset, digest=_digest(dataset, videos, judgments))
    for unused in {path.name for path in (folder / "frames").iterdir()} - {Path(file).name for file in videos["file"]}:
        (folder / "frames" / unused).unlink()
    videos.select(*VIDEOS).cast(VIDEOS).write_parquet(folder / "videos.parquet")
    judgments.write_parquet(folder / "judgments.parquet")
    (folder / "ingest.json").write_text(json.dumps(asdict(Ingest(inputs, skipped, damaged)), indent=1))
    dataset.write(folder)
    return dataset


@dataclass(frozen=True)
class Ingest:
    """What `write_index` noted of an ingest: its inputs, how many bad records it skipped, damaged shards it cut off."""

    inputs: dict[str, object]
    skipped: int
    damaged: int = 0  # notes of older stores lack it


def read_ingest(folder: Path) -> Ingest:
    """The note on how the complete store in `folder` was made; ValueError with the remedy when it cannot be read."""
    path = read_description(folder)[1] / "ingest.json"
    try:
        return Ingest(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError) as error:
        raise damaged_store(path, error) from error


def _digest(dataset: Dataset, videos: pl.DataFrame, judgments: pl.DataFrame) -> str:
    """32 hexadecimal digits over all that a fit or a score depends on; how the videos lie in shards does not count."""
    described = {
        "modalities": list(dataset.modalities.items()),
        "dtype": dataset.dtype,
        "segments": [dataset.segment_frames, dataset.partial_segments, dataset.max_frames, dataset.edge],
        "classes": [dataset.classes, dataset.scored_classes],
    }
    digest = hashlib.sha256(json.dumps(described).encode())
    for row in videos.select("video_id", "split", "frames", "classes", "content").sort("video_id").iter_rows():
        digest.update(repr(row).encode())
    for row in judgments.sort("class_id", "segment_id").iter_rows():
        digest.update(repr(row).encode())
    return digest.hexdigest()[:32]
