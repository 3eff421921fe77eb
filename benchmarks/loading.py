"""Reading training batches at YouTube-8M's size: time and bytes, against plain memory-mapped reads in the same run.

`python -m benchmarks.loading [--videos 5000000] [--json]`

Processor time per batch (the median of ROUNDS) is measured on a store of sparse files of the real width and number.
Time and bytes read from a cold disk are measured on real files, evicted from the page cache before each batch.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl

from benchmarks.timing import timed
from training.members import member_of
from training.windows.examples import VideoExamples
from videos.dataset import Dataset
from videos.sources.yt8m import CLASSES, MAX_FRAMES, MODALITIES, SEGMENT_FRAMES
from videos.store import FrameStore, open_frames
from videos.store_writing import Ingest, new_store, write_index

FILES = 2 * 3844  # shards of the partitions train and validate
COLD_FILES, COLD_VIDEOS = 512, 8  # real files and the videos in each: 1.4 GB
BATCH, ROUNDS = 128, 20
WIDTH = sum(MODALITIES.values())
MEMBERS = {"bert_ms": "bert-l2h12-mean", "mix60_ms": "mix-nextvlad-60", "mix300_ms": "mix-nextvlad-300"}


def write_store(folder: Path, videos: int, files: int, *, is_sparse: bool) -> FrameStore:
    """A store of `videos` videos of 300 frames in `files` files: sparse files (zeros, no disk space) or noise."""
    each = -(-videos // files)
    rng = np.random.default_rng(0)
    header = {"descr": "|u1", "fortran_order": False, "shape": (each * MAX_FRAMES, WIDTH)}
    noise = rng.integers(256, size=(each * MAX_FRAMES, WIDTH) if not is_sparse else (0, WIDTH), dtype=np.uint8)
    with new_store(folder) as building:
        for number in range(files):
            with open(building / "frames" / f"{number}.npy", "wb") as stream:
                np.lib.format.write_array_header_1_0(stream, header)
                stream.write(noise.data)
                stream.truncate(stream.tell() - noise.nbytes + each * MAX_FRAMES * WIDTH)  # sparse without noise
        number = pl.int_range(videos, dtype=pl.Int64)
        labels = pl.concat_list(number % CLASSES, (number * 7 + 1) % CLASSES)
        table = pl.select(
            video_id=number.cast(pl.String).str.zfill(8),
            split=pl.lit("pretrain"),
            file=pl.format("frames/{}.npy", number // each),
            first_frame=number % each * MAX_FRAMES,
            frames=pl.lit(MAX_FRAMES),
            classes=labels,
            content=pl.lit(""),
        )
        names = [str(class_id) for class_id in range(CLASSES)]
        dataset = Dataset("sparse", MODALITIES, "uint8", SEGMENT_FRAMES, True, MAX_FRAMES, "roll", names, [], "")
        judgments = pl.DataFrame(schema={"class_id": pl.UInt16, "segment_id": pl.String, "relevance": pl.Int16})
        write_index(building, dataset, table, judgments, Ingest({"source": "sparse"}))
    return open_frames(folder)


def warm_ms(store: FrameStore, member: str) -> float:
    """Processor time per batch in ms, summed over threads."""
    examples = VideoExamples(store, member_of("paper", member).sampler)
    rng = np.random.default_rng(0)
    spent = []
    for step in range(ROUNDS):
        rows = rng.integers(len(examples), size=BATCH)
        began = time.process_time()
        examples.batch(rows, np.random.default_rng(step))
        spent.append(1000 * (time.process_time() - began))
    return median(spent)


def cold(store: FrameStore) -> dict[str, float]:
    """Per batch of a BERT member from evicted files: ms, time / time of mapped reads, bytes read / bytes needed."""
    examples = VideoExamples(store, member_of("paper", "bert-l2h12-mean").sampler)
    rng = np.random.default_rng(0)
    ours, mapped, read = [], [], []
    for step in range(ROUNDS):
        rows = rng.integers(len(examples), size=BATCH)
        _evict(store)
        before = _bytes_read()
        ours.append(timed(lambda: examples.batch(rows, np.random.default_rng(step)))[1])  # noqa: B023
        read.append((_bytes_read() - before) / (BATCH * SEGMENT_FRAMES * WIDTH))
        _evict(store)
        mapped.append(timed(lambda: _map_windows(store, rows))[1])  # noqa: B023
    return {
        "bytes_read_ratio": median(read),
        "cold_ms": 1000 * median(ours),
        "cold_ratio": median(ours) / median(mapped),
    }


def _map_windows(store: FrameStore, rows: np.ndarray) -> list[np.ndarray]:
    videos = store.videos[rows].select("file", "first_frame").iter_rows()
    return [np.array(store.frames(file)[first : first + SEGMENT_FRAMES]) for file, first in videos]


def _evict(store: FrameStore) -> None:
    for path in (store.content / "frames").iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _bytes_read() -> int:
    """Bytes that this process has read from disk."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["read_bytes"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loading", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--videos", type=int, default=5_000_000, help="videos of the sparse store")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        real = write_store(Path(folder) / "real", COLD_FILES * COLD_VIDEOS, COLD_FILES, is_sparse=False)
        figures = cold(real)
        sparse = write_store(Path(folder) / "sparse", arguments.videos, FILES, is_sparse=True)
        figures |= {name: warm_ms(sparse, member) for name, member in MEMBERS.items()}
    if arguments.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:<18}{value:8.2f}")


if __name__ == "__main__":
    main()
