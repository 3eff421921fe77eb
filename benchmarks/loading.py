"""Reading training batches at YouTube-8M's size: bytes and time from a cold disk, processor time from memory.

`python -m benchmarks.loading [--videos 5000000] [--json]`

`bytes_read_ratio`, `cold_ms` and `cold_ratio` are per batch of a BERT member, from real files evicted from the page
cache: bytes read / bytes of the windows, milliseconds, and the time / that of a plain mapped read in the same run.
`bert_ms`, `mix60_ms` and `mix300_ms` are milliseconds of processor time per batch from files in memory. `opened_s` and
`sampled_ms` are of a store of sparse files of the real width and number: to open it, and per batch.
"""

import argparse
import json
import os
import string
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl

from benchmarks.timing import timed
from training.members import member_of
from training.windows.examples import VideoExamples
from videos.dataset import Dataset
from videos.segments import segment_ids
from videos.sources.yt8m import CLASSES, MAX_FRAMES, MODALITIES, SEGMENT_FRAMES, UNRATED_ENDS
from videos.splits import split_of
from videos.store import FrameStore, open_frames
from videos.store_writing import Ingest, new_store, write_index

SHARDS = 2 * 3844  # of the partitions train and validate
COLD_FILES, VIDEOS = 512, 8  # real files, and the videos in each: 1.4 GB
WARM_FILES = 128  # of them in memory at a time
SCORED = 1000
BATCH, ROUNDS = 128, 20
WIDTH = sum(MODALITIES.values())
MEMBERS = {"bert_ms": "bert-l2h12-mean", "mix60_ms": "mix-nextvlad-60", "mix300_ms": "mix-nextvlad-300"}


def write_store(folder: Path, videos: int, files: int, *, is_sparse: bool, rated: int = 0) -> FrameStore:
    """A store of `videos` videos of 300 frames in `files` files: sparse files (zeros, no disk space) or noise.

    `rated` of the videos, spread evenly, have five ratings, of which three are positive.
    """
    each = -(-videos // files)
    rng = np.random.default_rng(0)
    header = {"descr": "|u1", "fortran_order": False, "shape": (each * MAX_FRAMES, WIDTH)}
    noise = rng.integers(256, size=(0 if is_sparse else each * MAX_FRAMES, WIDTH), dtype=np.uint8)
    with new_store(folder) as building:
        for number in range(files):
            with open(building / "frames" / f"{number}.npy", "wb") as stream:
                np.lib.format.write_array_header_1_0(stream, header)
                stream.write(noise.data)
                stream.truncate(stream.tell() - noise.nbytes + each * MAX_FRAMES * WIDTH)
                if not is_sparse:  # only pages that are on the disk can be evicted
                    os.fsync(stream.fileno())
        number = pl.int_range(videos, dtype=pl.Int64)
        table = pl.select(
            video_id=pl.Series(_ids(videos)),
            split=pl.lit("pretrain"),
            file=pl.format("frames/{}.npy", number // each),
            first_frame=number % each * MAX_FRAMES,
            frames=pl.lit(MAX_FRAMES),
            classes=pl.concat_list(number % CLASSES, (number * 7 + 1) % CLASSES),
            content=pl.lit(""),
        )
        chosen = table["video_id"].gather_every(max(videos // max(rated, 1), 1))[:rated]
        splits = pl.Series([split_of(video_id, True, False) for video_id in chosen], dtype=pl.String)
        table = table.with_columns(
            split=pl.col("video_id").replace_strict(chosen, splits, default="pretrain", return_dtype=pl.String)
        )
        names = [str(class_id) for class_id in range(CLASSES)]
        scored = list(range(SCORED)) if rated else []
        dataset = Dataset("sparse", MODALITIES, "uint8", SEGMENT_FRAMES, True, MAX_FRAMES, "roll", names, scored, "")
        dataset = replace(dataset, unrated_ends=UNRATED_ENDS)
        rating = pl.int_range(5 * len(chosen))
        judgments = pl.select(
            class_id=(rating // 5 % SCORED).cast(pl.UInt16),
            video_id=chosen.gather(pl.select(rating // 5).to_series()),
            start=SEGMENT_FRAMES * (UNRATED_ENDS[0] + rating * 7 % 40),
            relevance=(rating % 5 < 3).cast(pl.Int16),
        ).with_columns(segment_id=segment_ids())
        write_index(building, dataset, table, judgments, Ingest({"source": "sparse"}))
    return open_frames(folder)


def _ids(count: int) -> np.ndarray:
    """Distinct ids of four letters and digits, as the real ones."""
    digits = np.frombuffer((string.digits + string.ascii_letters).encode(), np.uint8)
    places = np.arange(count)[:, None] // len(digits) ** np.arange(3, -1, -1) % len(digits)
    return digits[places].view("S4")[:, 0].astype("U4")


def batches_ms(store: FrameStore, member: str, videos: int, clock: Callable[[], float]) -> float:
    """The median milliseconds per batch of the first `videos` videos, after a round that reads them into memory."""
    examples = VideoExamples(store, member_of("paper", member).sampler)
    rng = np.random.default_rng(0)
    spent = []
    for step in range(2 * ROUNDS):
        rows = rng.integers(videos, size=BATCH)
        began = clock()
        examples.batch(rows, np.random.default_rng(step))
        spent.append(1000 * (clock() - began))
    return median(spent[ROUNDS:])


def cold(folder: Path) -> dict[str, float]:
    """Figures of a BERT member from evicted files, which are open."""
    ours, mapped, read = [], [], []
    for step in range(ROUNDS):
        rows = np.random.default_rng(step).integers(COLD_FILES * VIDEOS, size=BATCH)
        seconds, ratio = _cold_batch(folder, rows)
        ours.append(seconds)
        read.append(ratio)
        mapped.append(_cold_mapped(folder, rows))
    return {
        "bytes_read_ratio": median(read),
        "cold_ms": 1000 * median(ours),
        "cold_ratio": median(ours) / median(mapped),
    }


# Each round maps the files anew: pages that stay mapped cannot be evicted.


def _cold_batch(folder: Path, rows: np.ndarray) -> tuple[float, float]:
    """Seconds, and bytes read / bytes of the windows."""
    store = open_frames(folder)
    examples = VideoExamples(store, member_of("paper", MEMBERS["bert_ms"]).sampler)
    for file in store.videos["file"][rows].unique():
        store.frames(file)
    evict(folder)
    before = bytes_read()
    _, seconds = timed(lambda: examples.batch(rows, np.random.default_rng(0)))
    return seconds, (bytes_read() - before) / (BATCH * SEGMENT_FRAMES * WIDTH)


def _cold_mapped(folder: Path, rows: np.ndarray) -> float:
    """Seconds for a window of each video by a memory map without advice."""
    store = open_frames(folder)
    videos = store.videos[rows]
    files = [np.load(store.content / file, mmap_mode="r") for file in videos["file"]]
    windows = list(zip(files, videos["first_frame"].to_list(), strict=True))
    evict(folder)
    return timed(lambda: [np.array(file[first : first + SEGMENT_FRAMES]) for file, first in windows])[1]


def evict(folder: Path) -> None:
    for path in folder.glob("*/frames/*.npy"):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def bytes_read() -> int:
    """Bytes that this process has read from disk."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["read_bytes"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loading", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--videos", type=int, default=5_000_000, help="videos of the sparse store")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        real = Path(folder) / "real"
        store = write_store(real, COLD_FILES * VIDEOS, COLD_FILES, is_sparse=False)
        figures = cold(real)
        for name, member in MEMBERS.items():
            figures[name] = batches_ms(store, member, WARM_FILES * VIDEOS, time.process_time)
        sparse = Path(folder) / "sparse"
        write_store(sparse, arguments.videos, SHARDS, is_sparse=True)
        store, figures["opened_s"] = timed(lambda: open_frames(sparse))
        figures["sampled_ms"] = batches_ms(store, MEMBERS["bert_ms"], len(store.videos), time.perf_counter)
    figures = {name: round(value, 3) for name, value in figures.items()}
    print(json.dumps(figures) if arguments.json else "\n".join(f"{name:<18}{value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
