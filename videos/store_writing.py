"""The frame store, written: whole or not at all."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from videos.dataset import Dataset, damaged_store
from videos.judgments import JUDGMENTS, last_of_pairs
from videos.store import VIDEOS

PARTIAL = ".partial"
CONTENT = ("dataset.json", "ingest.json", "judgments.parquet", "videos.parquet", "frames", "shards")


class FramesFile:
    """A frames file in the making: rows are appended, and the file appears under its name when the `with` ends well."""

    def __init__(self, path: Path, dtype: str, width: int):
        self.path = path
        self.dtype = np.dtype(dtype)
        self.width = width
        self.rows = 0

    def __enter__(self) -> Self:
        self._temporary = self.path.with_name(self.path.name + ".tmp")
        self._stream = open(self._temporary, "wb")
        self._write_header()
        return self

    def append(self, rows: np.ndarray) -> int:
        """Add the frames of one video, (frames, width); returns the row of the first."""
        assert rows.ndim == 2
        assert rows.shape[1] == self.width
        first = self.rows
        self._stream.write(np.ascontiguousarray(rows, self.dtype).data)
        self.rows += len(rows)
        return first

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if error_type is None:
            self._stream.seek(0)
            self._write_header()
        self._stream.close()
        if error_type is None:
            os.replace(self._temporary, self.path)
        else:
            self._temporary.unlink()

    def _write_header(self) -> None:
        # numpy pads the header so that the first dimension may grow: it is as long with 0 rows as with any number.
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.rows, self.width),
        }
        np.lib.format.write_array_header_1_0(self._stream, header)


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
        if any(entry.name != PARTIAL for entry in folder.iterdir()):
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
    """A place to write a frame store that becomes `folder` when the `with` ends well, and vanishes otherwise.

    Yields a folder inside `folder` (which may be a mounted volume); `write_index` must have been called on it in the
    end. What `folder` held before is replaced only then.

    Raises:
        ValueError: another process is writing to `folder`.
    """
    from filelock import FileLock, Timeout

    is_new = not folder.exists()
    partial = folder / PARTIAL
    partial.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(partial / "lock", timeout=0).acquire()
    except Timeout:
        raise ValueError(f"another process is writing to {folder}; wait for it or choose another folder") from None
    with lock:
        try:
            for left in partial.iterdir():  # of a process that was killed
                if left.name != "lock":
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
            building = partial / "store"
            (building / "frames").mkdir(parents=True)
            yield building
            _replace_content(folder, building)
        finally:
            shutil.rmtree(partial)
            if is_new and not (folder / "dataset.json").exists():
                folder.rmdir()


def _replace_content(folder: Path, building: Path) -> None:
    """Move a finished store into its folder; `dataset.json` goes first and comes last. Undone when interrupted."""
    old = building.with_name("old")
    old.mkdir()
    taken = [(folder / name, old / name) for name in CONTENT if (folder / name).exists()]
    brought = [(building / name, folder / name) for name in reversed(CONTENT) if (building / name).exists()]
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in taken + brought:
            os.replace(source, target)
            done.append((source, target))
    except BaseException:
        for source, target in reversed(done):
            os.replace(target, source)
        raise


def write_index(
    folder: Path,
    dataset: Dataset,
    videos: pl.DataFrame,
    judgments: pl.DataFrame,
    inputs: dict[str, object],
    skipped: int,
    damaged: int = 0,
) -> Dataset:
    """Write everything of a frame store but its frames; returns the dataset with its digest.

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
    path = folder / "ingest.json"
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
