"""What the readers share: TFRecord shards read one by one, in parallel, each into one frames file."""

import contextlib
import hashlib
import itertools
import logging
import os
import signal
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import polars as pl

from terminal.progress import Progress
from videos.segments import segment_ids
from videos.sources.records import DamagedShard, Record, read_records
from videos.store_writing import new_frames

log = logging.getLogger(__name__)

NAMED = 20  # bad records and damaged shards that are named one by one
BYTES_PER_PROCESS = 128 << 20  # starting a process costs about as much as reading this many bytes of shards


@dataclass(frozen=True)
class Video:
    """What a record says of its video.

    `frames` is (frames, width) in the order of the dataset's modalities; `ratings` maps (class_id, start of the
    segment) to its relevance, and is empty where nobody rated the video.
    """

    video_id: str
    frames: np.ndarray
    classes: list[int]
    ratings: dict[tuple[int, int], int] = field(default_factory=dict)


class Reader(Protocol):
    """One format of records: what a frame looks like, and how a record is read (ValueError says what is wrong)."""

    @property
    def dtype(self) -> str: ...

    @property
    def width(self) -> int: ...

    def read(self, record: "Record", test: bool) -> Video: ...


@dataclass(frozen=True)
class Shard:
    """A shard to read: where it lies, whether it belongs to the test partition, and its frames file in the store."""

    path: Path
    file: str
    test: bool = False


@dataclass(frozen=True)
class ShardIndex:
    """What is in shards.

    `videos`: video_id, file, first_frame, frames, classes, content (SHA-256 of the frames), rated, test; one row a
    record, in the order of the records. `ratings`: file, first_frame (of the rated video), class_id, segment_id,
    relevance. `skipped` holds one sentence for each bad record that was left out, `damaged` one for each shard that
    could be read up to some record only: how many records came after it, nobody knows.
    """

    videos: pl.DataFrame
    ratings: pl.DataFrame
    skipped: list[str]
    damaged: list[str]


RECORDS = {
    "video_id": pl.String,
    "file": pl.String,
    "first_frame": pl.Int64,
    "frames": pl.Int32,
    "classes": pl.List(pl.UInt16),
    "content": pl.String,
    "rated": pl.Boolean,
    "test": pl.Boolean,
}


RATINGS = {
    "file": pl.String,
    "first_frame": pl.Int64,
    "class_id": pl.UInt16,
    "video_id": pl.String,
    "start": pl.Int32,
    "relevance": pl.Int16,
}


def list_shards(train: Sequence[Path], test: Sequence[Path] = ()) -> list[Shard]:
    """The shards of both partitions with their frames files, named after them; a shard in both is a test shard."""
    partition = {path: False for path in train} | {path: True for path in test}
    shards, taken = [], set()
    for path, is_test in partition.items():
        name = next(name for name in _names(path.stem) if name not in taken)
        taken.add(name)
        shards.append(Shard(path, f"frames/{name}.npy", is_test))
    return shards


def _names(stem: str) -> Iterator[str]:
    """`stem`, then `stem-2`, ...: releases of the data use the same shard names."""
    yield stem
    for number in itertools.count(2):
        yield f"{stem}-{number}"


def read_shards(
    shards: Sequence[Shard], folder: Path, reader: Reader, skip_bad: bool = False, jobs: int | None = None
) -> ShardIndex:
    """Read `shards` in parallel, write the frames files into `folder`, and return one index of all of them.

    The index does not depend on `jobs`, the number of processes (default: one a core, fewer where there is little to
    read). A process holds one video at a time.

    Raises:
        ValueError: a shard or a record is bad and `skip_bad` is not given; names the file and the record.
    """
    from joblib import Parallel, delayed

    if jobs is None:
        total = sum(shard.path.stat().st_size for shard in shards)
        jobs = min(os.cpu_count() or 1, 1 + total // BYTES_PER_PROCESS)
    tasks = (delayed(read_shard)(shard, folder, reader, skip_bad) for shard in shards)
    # Processes that start here inherit the mask: a Ctrl-C is for this process, which ends them.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        started = Parallel(n_jobs=min(jobs, len(shards)), return_as="generator")(tasks)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    results = cast(Generator[ShardIndex, None, None], started)
    parts: list[ShardIndex] = []
    # Closing ends the other processes at once when one fails or we are interrupted: none writes after that.
    with contextlib.closing(results), Progress("reading shards", len(shards)) as progress:
        for part in results:
            parts.append(part)
            progress.advance(1)
    faults = [sentence for part in parts for sentence in part.skipped + part.damaged]
    for sentence in faults[:NAMED]:
        log.warning("%s", sentence)
    if len(faults) > NAMED:
        log.warning("and %d more", len(faults) - NAMED)
    return ShardIndex(
        pl.concat([part.videos for part in parts]),
        pl.concat([part.ratings for part in parts]),
        [sentence for part in parts for sentence in part.skipped],
        [sentence for part in parts for sentence in part.damaged],
    )


def read_shard(shard: Shard, folder: Path, reader: Reader, skip_bad: bool) -> ShardIndex:
    """Read one shard; its frames go to `folder / shard.file`, record by record."""
    videos, ratings, skipped, damaged = [], [], [], []
    records = read_records(shard.path)
    with new_frames(folder / shard.file, reader.dtype, reader.width) as frames_file:
        for number in itertools.count():
            try:
                record = next(records)
                video = reader.read(Record(record), shard.test)
            except StopIteration:
                break
            except DamagedShard as error:
                sentence = f"{shard.path}, record {number}: {error}"
                if not skip_bad:
                    raise ValueError(f"{sentence}; fetch it again, or keep what comes before by --skip-bad") from None
                damaged.append(sentence)
                break
            except ValueError as error:
                sentence = f"{shard.path}, record {number}: {error}"
                if not skip_bad:
                    raise ValueError(f"{sentence}; repair it, or leave such records out by --skip-bad") from None
                skipped.append(sentence)
                continue
            content = hashlib.sha256(video.frames.data).hexdigest()
            first = frames_file.append(video.frames)
            classes = sorted(set(video.classes))
            rated = bool(video.ratings)
            videos.append((video.video_id, shard.file, first, len(video.frames), classes, content, rated, shard.test))
            ratings += [
                (shard.file, first, class_id, video.video_id, start, relevance)
                for (class_id, start), relevance in video.ratings.items()
            ]
    return ShardIndex(
        pl.DataFrame(videos, schema=RECORDS, orient="row"),
        pl.DataFrame(ratings, schema=RATINGS, orient="row").select(
            "file", "first_frame", "class_id", segment_ids().alias("segment_id"), "relevance"
        ),
        skipped,
        damaged,
    )
