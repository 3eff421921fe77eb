"""The members of `test_cluster.py`, for the test and, as a preload, for its workers, of which one dies in a fit."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import click
from distributed import Worker

from tests.training.test_toys import TOYS
from tests.training.toy_kind import ToyEstimator
from training import members
from training.fit.kinds import KINDS
from training.models.boosted import BoostedConfig

TOY = TOYS[-1]
BOOSTED = replace(members.BOOSTED, config=BoostedConfig((TOY.name,), folds=2, rounds=10, block=5, min_data=2))
MEMBERS = (TOY, replace(TOY, name="other-toy", seed=1), BOOSTED)


def install() -> None:
    KINDS["toy"] = "tests.training.toy_kind"
    members.LINE_UPS["cluster"] = lambda: MEMBERS


@click.command()
@click.argument("mark", type=Path)
def dask_setup(worker: Worker, mark: Path) -> None:
    """The first worker that reaches step 8 of a fit writes its name to `mark` and dies."""
    install()
    plain = ToyEstimator.train_step

    def train_step(self: ToyEstimator, batch, rate: float) -> float:
        if self.step == 8:
            try:
                with mark.open("x") as file:
                    file.write(worker.address)
                os.kill(os.getpid(), signal.SIGKILL)
            except FileExistsError:
                pass
        return plain(self, batch, rate)

    ToyEstimator.train_step = train_step
