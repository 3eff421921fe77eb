"""Kill an ingest at ten random moments, until it completes.

`python -m tests.videos.killed_ingest FOLDER` prints the number of kills and how many finished shards were read again;
it fails if there is ever a part of a store, or if the store differs from one of an ingest that was not killed.

Records are read by a stand-in, since importing TensorFlow takes longer than the ingest.
"""

import filecmp
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import numpy as np

from videos import ingest
from videos.sources import shards, yt8m
from videos.sources.shards import Video

SHARDS, VIDEOS = 40, 20
KILLS = 10


class PlainReader(yt8m.YouTube8MReader):
    def read(self, record, test):
        name = cast(bytes, record).decode()
        frames = np.full((300, self.width), len(name), np.uint8)
        return Video(name, frames, [1], {(2, 5): 1} if name.endswith("1") else {})


def read_lines(path: Path):
    for line in path.read_bytes().split():
        time.sleep(0.001)
        yield line


def run(folder: Path, store: str) -> None:
    shards.read_records, shards.Record = read_lines, bytes
    yt8m.YouTube8MReader, yt8m.find_level = PlainReader, lambda _: "frame"
    ingest.ingest_yt8m((str(folder / "*.txt"),), folder / store, jobs=1)


def finished(folder: Path) -> dict[str, int]:
    """The frames files of the finished shards of an unfinished ingest, with their inode numbers."""
    indices = (folder / "store").glob("content-*/index/*.parquet")
    return {i.stem: (i.parents[1] / "frames" / f"{i.stem}.npy").stat().st_ino for i in indices}


def main(folder: Path) -> None:
    for number in range(SHARDS):
        (folder / f"s{number:02}.txt").write_text("\n".join(f"{number}-{i}" for i in range(VIDEOS)))
    run(folder, "whole")
    rng, kills, repeated, before = random.Random(0), 0, 0, {}
    while kills < KILLS:
        process = subprocess.Popen([sys.executable, "-m", "tests.videos.killed_ingest", str(folder), "store"])
        count = len(before)
        while process.poll() is None and len(finished(folder)) == count:  # until it has read a shard
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.1))
        assert process.poll() is None, "it ended before it was killed"
        process.kill()
        process.wait()
        kills += 1
        assert not (folder / "store" / "dataset.json").exists()
        after = finished(folder)
        repeated += sum(after.get(name) != inode for name, inode in before.items())
        before = after
    run(folder, "store")
    one, other = (folder / name / "content-1" for name in ("whole", "store"))
    names = [str(path.relative_to(one)) for path in one.rglob("*") if path.is_file()]
    assert sorted(names) == sorted(str(path.relative_to(other)) for path in other.rglob("*") if path.is_file())
    assert filecmp.cmpfiles(one, other, names, shallow=False)[1:] == ([], [])
    print(kills, repeated)


if __name__ == "__main__":
    main(Path(sys.argv[1])) if len(sys.argv) == 2 else run(Path(sys.argv[1]), sys.argv[2])
