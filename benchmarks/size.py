"""The stages on a store as large as YouTube-8M: `python -m benchmarks.size [--videos 5000000] [--json]`.

The store has sparse files of the real width and number (zeros, no disk space), video ids of four characters, and as
large a share of rated videos as the real one: 47,000 of five million, of which 8 % are the holdout. Its member is a
small linear model, so that the figures are those of everything else. They are of one process: seconds to open the
store and for each stage with its logging, in all and of the processor, and the peak memory in GB. The memory of `infer`
is that of one shift; each further one takes 0.9 GB more where 100,000 segments of 1,000 classes are ranked.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from torch import Tensor, nn

from benchmarks.loading import BATCH, SHARDS, write_store
from benchmarks.timing import timed
from tracking.store import client
from training import stages
from training.fit.options import TorchOptions
from training.job import Job
from training.member import Member, Schedule
from training.models.architecture import TorchArchitecture
from training.models.layers.heads import Logistic
from training.models.window_model import WindowModel
from training.windows.examples import VideoExamples
from videos.store import FrameStore, open_frames

ROUNDS = 20
STEPS = 4


@dataclass(frozen=True)
class NarrowConfig(TorchArchitecture):
    def build(self, widths: Mapping[str, int], classes: int, window: int) -> "Narrow":
        return Narrow(sum(widths.values()), classes)


class Narrow(WindowModel):
    """Logistic regression on 16 projections of the mean frame."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.project = nn.Linear(width, 16)
        self.head = Logistic(16, classes, l2=0.0)

    def encode_frames(self, frames: Tensor, frame_weights: Tensor | None = None) -> tuple[Tensor, ...]:
        return (self.project(frames),)

    def score_windows(self, encoded: tuple[Tensor, ...], frame_weights: Tensor | None = None) -> Tensor:
        return self.head(encoded[0].mean(1)).sigmoid()


MEMBER = Member("narrow", NarrowConfig(), (0,), pretrain=Schedule(STEPS, STEPS), finetune=Schedule(STEPS, STEPS))


def measure(folder: Path, runs: Path) -> dict[str, float]:
    """The figures of the store in `folder`, with a tracking store in `runs`."""
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{runs}/mlflow.db"
    client()  # makes the empty database
    began = time.process_time()
    store, opened = timed(lambda: open_frames(folder))
    figures = {"opened_s": opened}
    figures["sampled_ms"], figures["examples_s"] = timed(lambda: sampled_ms(store))
    job = Job(lineup="size", member=MEMBER, store=store, options=TorchOptions(device="cpu"))
    works = {
        "pretrain": lambda: stages.pretrain(job),
        "finetune": lambda: stages.finetune(job),
        "infer": lambda: stages.infer(job, "holdout"),
    }
    for name, work in works.items():
        _, figures[f"{name}_s"] = timed(work)
        print(f"{name}: {figures[f'{name}_s']:.1f} s, peak {peak_gb():.2f} GB", file=sys.stderr, flush=True)
    figures["all_s"] = sum(value for name, value in figures.items() if name.endswith("_s"))
    figures["processor_s"] = time.process_time() - began
    figures["peak_gb"] = peak_gb()
    return figures


def peak_gb() -> float:
    """The largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def sampled_ms(store: FrameStore) -> float:
    """The median milliseconds for a batch of videos anywhere in the store, with the opening of their files."""
    examples, rng = VideoExamples(store, MEMBER.sampler), np.random.default_rng(0)
    rows = rng.integers(len(examples), size=(ROUNDS, BATCH))
    return 1000 * median(timed(partial(examples.batch, some, rng))[1] for some in rows)


def run(videos: int, files: int = SHARDS) -> dict[str, float]:
    """Write a store and measure it in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        write_store(Path(folder) / "store", videos, files, is_sparse=True, rated=videos * 47 // 5000)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(measure, Path(folder) / "store", Path(folder)).result()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.size", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--videos", type=int, default=5_000_000)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    figures = {name: round(value, 3) for name, value in run(arguments.videos).items()}
    print(json.dumps(figures) if arguments.json else "\n".join(f"{name:<12}{value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
