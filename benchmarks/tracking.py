"""`python -m benchmarks.tracking`: what tracking costs: its share of training, and questions to a store of many runs.

Times are processor seconds, which other work on the machine hardly changes. Everything is generated.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GOALS = {1_000: 0.2, 30_000: 2.0}  # seconds of a question, by the runs of the store


@dataclass(frozen=True)
class Share:
    """Processor seconds of a training step without tracking, of a logged point and of the writes of a checkpoint.

    `share` is what tracking adds to a step at the member's own schedule.
    """

    step_s: float
    point_s: float
    checkpoint_s: float
    share: float


@dataclass(frozen=True)
class Questions:
    """Processor seconds of questions to a store: `open_s` after its imports, `find_s` one finished stage, `list_s` a
    line-up's runs, `status_s` what runs and what failed in a week."""

    runs: int
    open_s: float
    find_s: float
    list_s: float
    status_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, nargs="*", default=sorted(GOALS), help="sizes of stores")
    parser.add_argument("--share", action="store_true", help="the share of training instead")
    parser.add_argument("--ask", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ask:
        print(json.dumps(asdict(ask(arguments.ask))))
    elif arguments.share:
        figures = share()
        for name, value in asdict(figures).items():
            print(f"{name}: {value:.2%} (goal: at most 1 %)" if name == "share" else f"{name}: {value:.4f}")
    else:
        for runs in arguments.runs:
            figures = asdict(questions(runs))
            print(f"{figures.pop('runs'):,} runs:", *(f"{name} {value:.3f}" for name, value in figures.items()))


def questions(runs: int) -> Questions:
    """Fill a store with `runs` runs, and ask it in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        from benchmarks.dashboard import copy_runs

        database = Path(folder) / "mlflow.db"
        environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{database}"}
        fill = [sys.executable, "-m", "benchmarks.dashboard", "--fill", "20", "200"]
        subprocess.run(fill, cwd=ROOT, env=environment, check=True)
        copy_runs(database, runs)
        command = [sys.executable, "-m", "benchmarks.tracking", "--ask", str(runs)]
        done = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return Questions(**json.loads(done.stdout))


def ask(runs: int) -> Questions:
    """Ask the store in force."""
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  (its import is no part of a question)

    from tracking.commands.status import unfinished
    from tracking.runs import find_runs
    from tracking.store import client

    opened = _seconds(client)
    wanted = {"lineup": "paper", "member": "member-3"}
    stage = {"stage": "finetune", "config_digest": "0" * 16, "data_digest": "1" * 32}
    return Questions(
        runs=runs,
        open_s=opened,
        find_s=_seconds(lambda: find_runs("yt8m", finished=True, **wanted, **stage)),
        list_s=_seconds(lambda: find_runs("yt8m", finished=False, lineup="paper")),
        status_s=_seconds(lambda: unfinished(datetime.now(UTC) - timedelta(days=7))),
    )


def share(member: str = "bert-l2h12-mean", steps: int = 3, points: int = 200) -> Share:
    """Train some steps of a member of the paper on the CPU without tracking, and log points and checkpoints."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        import numpy as np

        from benchmarks.videos import write_videos
        from tracking import metrics
        from tracking.stage import Parent, Stage
        from training.fit.loop import REPORT_EVERY
        from training.fit.options import TorchOptions
        from training.fit.torch import TorchEstimator
        from training.members import member_of
        from training.windows.examples import VideoExamples

        configured = member_of("paper", member)
        schedule = configured.pretrain
        assert schedule is not None
        store = write_videos(Path(folder) / "videos", schedule.batch, "pretrain", frames=60)
        estimator = TorchEstimator(configured, store.dataset, TorchOptions(device="cpu"))
        examples = VideoExamples(store, configured.sampler)
        batch = examples.batch(np.arange(schedule.batch), np.random.default_rng(0))
        estimator.train_step(batch, 1e-4)
        step = _seconds(lambda: [estimator.train_step(batch, 1e-4) for _ in range(steps)]) / steps

        parent = Parent(name=member, identity={"dataset": "x", "lineup": "x", "kind": "member"}, tags={})
        stage = Stage(experiment="x", parent=parent, stage="pretrain", digest="0" * 16, data_digest="1" * 32)
        values = {metrics.LOSS: 0.5, metrics.LEARNING_RATE: 1e-4, metrics.EXAMPLES_PER_SECOND: 1e3}
        with stage.open(resumable=True) as opened:

            def log() -> None:
                for number in range(points):
                    opened.run.metrics(values, number)
                    opened.run.progress(number, points, "step")

            point = _seconds(log) / points
            checkpoint = _seconds(opened.checkpoint)
    added = point / REPORT_EVERY + checkpoint / schedule.evaluate_every
    return Share(step_s=step, point_s=point, checkpoint_s=checkpoint, share=added / step)


def _seconds(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


if __name__ == "__main__":
    main()
