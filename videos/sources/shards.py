"""Reading TFRecord shards in parallel, each into one frames file and one index."""

import contextlib
import hashlib
import itertools
import json
import logging
import os
import signal
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol, cast, get_args

import numpy as np
import polars as pl

from files.replacing import replacing
from terminal.cli import counted
from terminal.progress import Progress
from videos.sources.records import DamagedShard, Record, read_records
from videos.store_writing import INDEX, Fault, Ingest, make_room, new_frames

log = logging.getLogger(__name__)

NAMED = 20  # faults of a kind that are described one by one
REPORT_SECONDS = 60  # between two lines of the log
BYTES_PER_PROCESS = 128 << 20  # starting a process takes about as long as reading this many bytes


@dataclass(frozen=True)
class Video:
    """The content of a record.

    `frames` is (frames, width) in the order of the dataset's modalities; `ratings` maps (class_id, start of the
    segment) to relevance. `repairs` describes what was left out or filled in.
    """

    video_id: str
    frames: np.ndarray
    classes: list[int]
    ratings: dict[tuple[int, int], int] = field(default_factory=dict)
    repairs: list[tuple[Fault, str]] = field(default_factory=list)


class Reader(Protocol):
    """A format of records. `read` raises ValueError for a bad record; `test`: it is in the test partition."""

    @property
    def dtype(self) -> str: ...

    @property
    def width(self) -> int: ...

    def read(self, record: "Record", test: bool) -> Video: ...


@dataclass(frozen=True)
class Shard:
    """A shard, whether it is in the test partition, and the name of its files in the store."""

    path: Path
    name: str
    test: bool = False

    @property
    def file(self) -> str:
        return f"frames/{self.name}.npy"

    @property
    def index(self) -> str:
        return f"{INDEX}/{self.name}.parquet"


@dataclass(frozen=True)
class ShardIndex:
    """The videos of all shards, one row per record with the columns RECORDS, and what was left out or repaired.

    `content` is the SHA-256 of the frames.
    """

    videos: pl.DataFrame
    faults: dict[Fault, list[str]]

    def ingest(self, inputs: Mapping[str, object]) -> Ingest:
        counts = {fault: len(sentences) for fault, sentences in self.faults.items()}
        return Ingest(inputs, **counts, named={fault: named[:NAMED] for fault, named in self.faults.items()})


RATINGS = pl.List(pl.Struct({"class_id": pl.UInt16, "start": pl.Int32, "relevance": pl.Int16}))
RECORDS = {
    "video_id": pl.String,
    "file": pl.String,
    "first_frame": pl.Int64,
    "frames": pl.Int32,
    "classes": pl.List(pl.UInt16),
    "content": pl.String,
    "ratings": RATINGS,
    "test": pl.Boolean,
}


def list_shards(train: Sequence[Path], test: Sequence[Path] = ()) -> list[Shard]:
    """The shards of both partitions, named after their files; a shard in both is a test shard."""
    partition = {path: False for path in train} | {path: True for path in test}
    shards: dict[str, Shard] = {}
    for path, is_test in partition.items():
        numbered = (f"{path.stem}-{number}" for number in itertools.count(2))  # releases use the same shard names
        name = next(name for name in itertools.chain([path.stem], numbered) if name not in shards)
        shards[name] = Shard(path, name, is_test)
    return list(shards.values())


def read_shards(
    shards: Sequence[Shard], folder: Path, reader: Reader, skip_bad: bool = False, jobs: int | None = None
) -> ShardIndex:
    """Read the `shards` that are not finished, in parallel, into the content `folder`; returns the index of all.

    The index does not depend on `jobs`, the number of processes (default: one per core, fewer if there is little to
    read). A process holds one video at a time. After the first shard the store that `folder` replaces is removed.

    Raises:
        ValueError: a shard or a record is bad and `skip_bad` is False.
    """
    from joblib import Parallel, delayed

    unread = [shard for shard in shards if not _is_finished(shard, folder, reader, skip_bad)]
    sizes = {shard.name: shard.path.stat().st_size for shard in unread}
    total = sum(sizes.values())
    if len(unread) < len(shards):
        log.info("resumes: %s of %s finished before", f"{len(shards) - len(unread):,}", counted(len(shards), "shard"))
    if jobs is None:
        jobs = min(os.cpu_count() or 1, 1 + total // BYTES_PER_PROCESS)
    tasks = (delayed(read_shard)(shard, folder, reader, skip_bad) for shard in unread)
    # Child processes inherit the mask: a Ctrl-C is for this process, which ends them.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        started = Parallel(n_jobs=max(1, min(jobs, len(unread))), return_as="generator_unordered")(tasks)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    results = cast(Generator[tuple[str, int], None, None], started)
    done, videos, began = 0, 0, time.monotonic()
    reported = began
    # Closing ends the other processes at once if one fails or we are interrupted: none writes after that.
    with contextlib.closing(results), Progress("reading shards", total) as progress:
        for name, count in results:
            make_room(folder)
            done, videos, now = done + sizes[name], videos + count, time.monotonic()
            speed = videos / (now - began)
            progress.at(done, {"videos/s": speed, "GB": done / 1e9})
            if now - reported >= REPORT_SECONDS:
                reported, left = now, timedelta(seconds=round((now - began) * (total - done) / done))
                text = "%.1f of %.1f GB of shards read, %.0f videos/s, %s left"
                log.info(text, done / 1e9, total / 1e9, speed, left)
    index = _read_index(shards, folder)
    for sentences in index.faults.values():
        for sentence in sentences[:NAMED]:
            log.warning("%s", sentence)
        if len(sentences) > NAMED:
            log.warning("and %d more", len(sentences) - NAMED)
    return index


def _read_index(shards: Sequence[Shard], folder: Path) -> ShardIndex:
    faults: dict[Fault, list[str]] = {fault: [] for fault in get_args(Fault)}
    for shard in shards:
        for fault, sentence in json.loads(pl.read_parquet_metadata(folder / shard.index)["faults"]):
            faults[fault].append(sentence)
    return ShardIndex(pl.concat([pl.read_parquet(folder / shard.index) for shard in shards]), faults)


def _is_finished(shard: Shard, folder: Path, reader: Reader, skip_bad: bool) -> bool:
    """Whether an interrupted ingest read the same file in the same way."""
    if not (folder / shard.index).exists():
        return False
    notes = pl.read_parquet_metadata(folder / shard.index)
    has_bad = any(fault in ("skipped", "damaged") for fault, _ in json.loads(notes["faults"]))
    return notes["source"] == _source(shard, reader) and (skip_bad or not has_bad)


def _source(shard: Shard, reader: Reader) -> str:
    status = shard.path.stat()
    return json.dumps([str(shard.path), status.st_size, status.st_mtime_ns, shard.test, repr(reader)])


def read_shard(shard: Shard, folder: Path, reader: Reader, skip_bad: bool) -> tuple[str, int]:
    """Write the frames of a shard, then its index, which marks it as finished; returns its name and count of videos."""
    videos, faults = [], []
    source = _source(shard, reader)  # before reading: the file may change meanwhile
    records = read_records(shard.path)
    with new_frames(folder / shard.file, reader.dtype, reader.width) as frames_file:
        for number in itertools.count():
            where = f"{shard.path}, record {number}"
            try:
                record = next(records)
                video = reader.read(Record(record), shard.test)
            except StopIteration:
                break
            except DamagedShard as error:
                if not skip_bad:
                    remedy = "fetch it again, or keep what comes before by --skip-bad"
                    raise ValueError(f"{where}: {error}; {remedy}") from None
                faults.append(("damaged", f"{where}: {error}"))
                break
            except ValueError as error:
                if not skip_bad:
                    remedy = "repair it, or leave such records out by --skip-bad"
                    raise ValueError(f"{where}: {error}; {remedy}") from None
                faults.append(("skipped", f"{where}: {error}"))
                continue
            faults += [(fault, f"{where}: {text}") for fault, text in video.repairs]
            content = hashlib.sha256(video.frames.data).hexdigest()
            first = frames_file.append(video.frames)
            classes = sorted(set(video.classes))
            ratings = [
                {"class_id": class_id, "start": start, "relevance": relevance}
                for (class_id, start), relevance in video.ratings.items()
            ]
            videos.append((video.video_id, shard.file, first, len(video.frames), classes, content, ratings, shard.test))
    with replacing(folder / shard.index) as temporary:
        index = pl.DataFrame(videos, schema=RECORDS, orient="row")
        index.write_parquet(temporary, metadata={"faults": json.dumps(faults), "source": source})
    return shard.name, len(videos)
