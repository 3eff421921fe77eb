"""What the processes of `test_resuming.py` do: fit a member, and be killed on the way if so told.

Called with what to fit, the folder of a frame store, the folder of the checkpoints, and the step at which to die.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np

from tests.training.conftest import briefly, narrowed
from training.boosted.booster import BoostedEstimator
from training.fit.checkpoints import Checkpoints
from training.fit.loop import fit
from training.fit.options import TorchOptions
from training.job import Job
from training.member import Schedule
from training.members import member_of
from training.models.boosted import BoostedConfig
from training.windows.examples import VideoExamples
from videos.store import FrameStore, open_frames

STEPS, EVERY = 8, 3


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fit_member(name: str, store: FrameStore, folder: Path, killed_at: int | None = None) -> None:
    """Fit for STEPS steps with a checkpoint every EVERY; the process dies when step `killed_at` is done."""
    member = briefly(narrowed(member_of("paper", name)))
    estimator = Job(lineup="paper", member=member, store=store, options=TorchOptions(device="cpu")).estimator()
    train_step = estimator.train_step

    def step(batch, rate: float):
        loss = train_step(batch, rate)
        if estimator.step == killed_at:
            die()
        return loss

    estimator.train_step = step
    schedule, examples = Schedule(STEPS, EVERY, batch=16, learning_rate=1e-3), VideoExamples(store, member.sampler)
    fit(estimator, examples, member=member, schedule=schedule, checkpoints=Checkpoints(folder))


def fit_booster(folder: Path, killed_at: int | None = None) -> BoostedEstimator:
    """Grow five blocks of four rounds; the process dies when block `killed_at` is grown and not yet kept."""
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(400, 6)).astype(np.float32)
    labels = (pairs[:, 1] + 0.5 * rng.normal(size=400) > 0).astype(np.float32)
    config = BoostedConfig(bases=("base",), rounds=20, block=4, min_data=5)
    estimator = BoostedEstimator(config, ["a", "b", "c", "d", "e", "f"], folder, seed=3)

    def validate() -> None:
        if estimator.rounds // config.block == killed_at:
            die()

    estimator.fit(pairs, labels, validate, lambda *_: None)
    return estimator


if __name__ == "__main__":
    what, store, folder, killed_at = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    if what == "boosted":
        fit_booster(folder, killed_at)
    else:
        fit_member(what, open_frames(store), folder, killed_at)
