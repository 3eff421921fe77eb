"""Writing a frame store: shard by shard, resumable, complete or not there at all."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import polars as pl

from files.replacing import flush, replacing
from videos.dataset import Dataset, damaged_store, read_dataset, read_description
from videos.judgments import JUDGMENTS, last_of_pairs
from videos.store import VIDEO_INDEX, FrameStore

LOCK = ".writing"  # locked while a process writes to the store; without `dataset.json` it marks an unfinished ingest
CONTENT = re.compile(r"content-(\d+)")
OLDER = ("ingest.json", "judgments.parquet", "videos.parquet", "frames", "shards")  # older stores: not in a subfolder
INDEX = "index"  # folder of the indices of finished shards, until the store is complete
Fault = Literal["skipped", "damaged", "late_ratings", "padded_videos"]


@dataclass(frozen=True)
class Ingest:
    """The content of `ingest.json`: the inputs of an ingest, and what of them was left out or repaired.

    `skipped` counts bad records, `damaged` truncated or corrupt shards, `late_ratings` ratings beyond a video's end,
    and `padded_videos` videos with modalities of different length. `named` describes the first of each.
    """

    inputs: Mapping[str, object]
    skipped: int = 0
    damaged: int = 0
    late_ratings: int = 0
    padded_videos: int = 0
    named: Mapping[str, list[str]] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        with replacing(folder / "ingest.json") as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1))


class FramesFile:
    """A frames file that is being written. Made by `new_frames`."""

    def __init__(self, stream: BinaryIO, dtype: str, width: int):
        self.dtype = np.dtype(dtype)
        self.width = width
        self.rows = 0
        self._stream = stream
        self._write_header()

    def append(self, rows: np.ndarray) -> int:
        """Append the frames of a video (frames, width); returns the row number of the first."""
        assert rows.ndim == 2
        assert rows.shape[1] == self.width
        first = self.rows
        self._stream.write(np.ascontiguousarray(rows, self.dtype).data)
        self.rows += len(rows)
        return first

    def finish(self) -> None:
        """Write the final number of rows into the header."""
        self._stream.seek(0)
        self._write_header()

    def _write_header(self) -> None:
        # numpy pads the header so that its length does not depend on the number of rows.
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.rows, self.width),
        }
        np.lib.format.write_array_header_1_0(self._stream, header)


@contextmanager
def new_frames(path: Path, dtype: str, width: int) -> Iterator[FramesFile]:
    """A new frames file, which appears at `path` if the block succeeds."""
    with replacing(path) as temporary, open(temporary, "wb") as stream:
        frames_file = FramesFile(stream, dtype, width)
        yield frames_file
        frames_file.finish()


def is_complete(folder: Path, inputs: dict[str, object], force: bool) -> bool:
    """Whether `folder` is the complete frame store made from `inputs`. With `force`, no store counts as complete.

    Raises:
        ValueError: the folder has other files, or is a store from other inputs and `force` is False.
    """
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file; choose a folder")
    if not (folder / "dataset.json").is_file():
        if any(folder.iterdir()) and not (folder / LOCK).exists():
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
    """A folder for the content of a frame store; `folder` is that store once the block succeeds.

    Yields a folder inside `folder` (which may be a mount point); the block must end with `write_index` on it. The
    atomic write of `dataset.json` makes the store appear. If the block fails or is killed after it finished a shard
    (an index in INDEX), its frames and indices remain, and the next block continues with them. The store that was
    there before is removed by `make_room`, at the latest at the end.

    Raises:
        ValueError: another process is writing to `folder`.
    """
    from filelock import FileLock, Timeout

    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    was_unfinished = (folder / LOCK).exists()
    try:
        lock = FileLock(folder / LOCK, timeout=0).acquire()
    except Timeout:
        raise ValueError(f"another process is writing to {folder}; wait for it or choose another folder") from None
    with lock:
        # A number that no store had: whoever has the old one open must not read frames of the new one.
        new = folder / f"content-{1 + max(_contents(folder), default=0)}"
        building = next((content for content in _contents(folder).values() if content != _named(folder)), new)
        (building / "frames").mkdir(parents=True, exist_ok=True)
        for entry in building.iterdir():
            if entry.name not in ("frames", INDEX):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        try:
            if was_unfinished and not (folder / "dataset.json").exists():
                make_room(building)
            yield building
            flush(building)
            read_dataset(building).write(folder, building.name)
            make_room(building)
            shutil.rmtree(building / INDEX, ignore_errors=True)
        finally:
            if not (building / INDEX).exists() and _named(folder) != building:
                shutil.rmtree(building)
            if (folder / "dataset.json").exists() or not _contents(folder):
                (folder / LOCK).unlink()
            if is_new and not any(folder.iterdir()):
                folder.rmdir()


def make_room(building: Path) -> None:
    """Remove all other content of the store that `building` is in: the old store and what killed processes left."""
    folder = building.parent
    if (folder / LOCK).exists():  # else the files are somebody else's
        if _named(folder) != building:
            (folder / "dataset.json").unlink(missing_ok=True)
        others = [*_contents(folder).values(), *(folder / name for name in OLDER if (folder / name).exists())]
        for other in others:
            if other != building:
                shutil.rmtree(other) if other.is_dir() else other.unlink()


def _contents(folder: Path) -> dict[int, Path]:
    """The folders of content in `folder` by number."""
    return {int(match[1]): entry for entry in folder.iterdir() if (match := CONTENT.fullmatch(entry.name))}


def _named(folder: Path) -> Path | None:
    """The content of the store in `folder`; None if there is no complete store."""
    try:
        return read_description(folder)[1]
    except ValueError:
        return None


def write_index(
    folder: Path,
    dataset: Dataset,
    videos: pl.DataFrame,
    judgments: pl.DataFrame,
    ingest: Ingest,
) -> Dataset:
    """Write the content of a frame store except its frames; returns the dataset with its digest.

    `videos` has the columns of VIDEO_INDEX and `content`, the SHA-256 of each video's frames in hexadecimal. Frames
    files without a video are removed.
    """
    judgments = last_of_pairs(judgments.select(*JUDGMENTS).cast(JUDGMENTS))
    videos = videos.sort("file", "first_frame")
    dataset = replace(dataset, digest=_digest(dataset, videos, judgments))
    for unused in {path.name for path in (folder / "frames").iterdir()} - {Path(file).name for file in videos["file"]}:
        (folder / "frames" / unused).unlink()
    videos.select(*VIDEO_INDEX).cast(VIDEO_INDEX).write_parquet(folder / "videos.parquet")
    judgments.write_parquet(folder / "judgments.parquet")
    ingest.write(folder)
    dataset.write(folder)
    return dataset


def videos_alone(folder: Path, dataset: Dataset, videos: Iterable[tuple[str, np.ndarray]]) -> FrameStore:
    """An open frame store without labels, in the empty `folder`: pairs of a video's id and its frames (frames, width).

    ValueError for frames of another width or type than the dataset's, and for an id that comes twice.
    """
    rows = []
    with new_frames(folder / "frames.npy", dataset.dtype, dataset.width) as file:
        for video_id, frames in videos:
            if frames.dtype != dataset.dtype or frames.ndim != 2 or frames.shape[1] != dataset.width:
                wanted = f"(frames, {dataset.width}) of {dataset.dtype}"
                raise ValueError(
                    f"the frames of {video_id} are {frames.shape} of {frames.dtype}; {dataset.name} has {wanted}"
                )
            rows.append((video_id, "test", "frames.npy", file.append(frames), len(frames), []))
    index = pl.DataFrame(rows, VIDEO_INDEX, orient="row")
    if twice := index.filter(pl.col("video_id").is_duplicated())["video_id"].to_list():
        raise ValueError(f"the video {twice[0]} is there twice; give each once")
    return FrameStore(folder, folder, dataset, index, pl.DataFrame(schema=JUDGMENTS))


def read_ingest(folder: Path) -> Ingest:
    """The `ingest.json` of the complete store in `folder`; ValueError if it cannot be read."""
    path = read_description(folder)[1] / "ingest.json"
    try:
        return Ingest(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError) as error:
        raise damaged_store(path, error) from error


def _digest(dataset: Dataset, videos: pl.DataFrame, judgments: pl.DataFrame) -> str:
    """32 hexadecimal digits of a hash over all that a fit or a score depends on, whatever the division into shards."""
    described = {
        "modalities": list(dataset.modalities.items()),
        "dtype": dataset.dtype,
        "segments": [dataset.segment_frames, dataset.partial_segments, dataset.max_frames, dataset.edge],
        "classes": [dataset.classes, dataset.scored_classes],
        **({"unrated_ends": dataset.unrated_ends} if any(dataset.unrated_ends) else {}),  # as in older stores
    }
    digest = hashlib.sha256(json.dumps(described).encode())
    for row in videos.select("video_id", "split", "frames", "classes", "content").sort("video_id").iter_rows():
        digest.update(repr(row).encode())
    for row in judgments.sort("class_id", "segment_id").iter_rows():
        digest.update(repr(row).encode())
    return digest.hexdigest()[:32]
