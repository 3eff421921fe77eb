"""The rate of an ingest in one process: `python -m benchmarks.ingest [--shards 8] [--videos 100] [--json]`.

Shards of generated videos of YouTube-8M's width and usual length are written, then read into a frame store, in a
process of its own: videos and MB of shards per second of wall time and of processor time, and its memory in GB after
the first shard and after the last, which should be the same.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.timing import timed
from videos.sources.records import import_tensorflow
from videos.sources.shards import list_shards, read_shard
from videos.sources.synthetic import Scene, encode
from videos.sources.yt8m import CLASSES, MODALITIES, YouTube8MReader

FRAMES = 230  # of a video of YouTube-8M on average


def write_shards(folder: Path, shards: int, videos: int) -> None:
    """`shards` shards of `videos` videos each, of noise."""
    rng = np.random.default_rng(0)
    for number in range(shards):
        with import_tensorflow().io.TFRecordWriter(str(folder / f"train{number:04}.tfrecord")) as writer:
            for video in range(videos):
                features = {
                    name: rng.integers(256, size=(FRAMES, width), dtype=np.uint8) for name, width in MODALITIES.items()
                }
                labels = rng.choice(CLASSES, 3, replace=False).tolist()
                writer.write(encode(f"{number:02}{video:04}", Scene(features, np.empty((FRAMES, 0)), labels, [])))


def measure(shards: Path, content: Path) -> dict[str, float]:
    """The figures of reading the `shards` into the folder `content`."""
    (content / "frames").mkdir(parents=True)
    reader = YouTube8MReader("frame", MODALITIES, CLASSES)
    first, *others = list_shards(sorted(shards.glob("*.tfrecord")))
    read_shard(first, content, reader, False)  # imports TensorFlow
    begin = _peak_gb()
    processor = time.process_time()
    counts, seconds = timed(lambda: [read_shard(shard, content, reader, False)[1] for shard in others])
    processor = time.process_time() - processor
    read = sum(shard.path.stat().st_size for shard in others) / 1e6
    return {
        "videos_per_s": sum(counts) / seconds,
        "mb_per_s": read / seconds,
        "videos_per_processor_s": sum(counts) / processor,
        "first_gb": begin,
        "last_gb": _peak_gb(),
    }


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--videos", type=int, default=100, help="in each shard")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_shards(folder, arguments.shards, arguments.videos)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            figures = pool.submit(measure, folder, folder / "content").result()
    figures = {name: round(value, 3) for name, value in figures.items()}
    print(json.dumps(figures) if arguments.json else "\n".join(f"{name:<24}{value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
