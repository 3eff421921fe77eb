"""Stop a line-up of all three frameworks by a signal at random moments, and type its command again each time.

`python -m tests.training.killed_line_up FOLDER DATA KILLS` trains in FOLDER/whole without a signal, then in FOLDER/1,
FOLDER/2 ... until KILLS processes were stopped, and lets the last one end. FOLDER/mlflow.db is an empty store, with
which each of them begins. Prints what stopped each process, and when.

The processes are forked from one that has imported the frameworks, which takes most of the time of a start. It has used
none of them: their threads would not survive a fork.
"""

import itertools
import os
import random
import runpy
import shutil
import signal
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from tests.training.conftest import briefly
from training import members
from training.member import Member
from training.models.bert import BertConfig
from training.models.boosted import BoostedConfig
from training.models.gated_netvlad import GatedNetVladConfig
from training.windows.sampler import Sampler

LINEUP = "killed"
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
POLL_SECONDS, PATIENCE = 0.005, 1000.0


def install() -> None:
    """Make the line-up, and import what takes long in its stages."""
    for name in ("tensorflow", "lightgbm", "mlflow.pytorch", "mlflow.tensorflow", "matplotlib.figure", "torch.export"):
        import_module(name)
    bert = briefly(Member("bert", BertConfig(layers=1, heads=4, pooling="mean", intermediate=32), (0, 1)))
    gated = Member("gated", GatedNetVladConfig(clusters=4, hidden=8, output=16), (-1, 0), Sampler("frames", 5))
    boosted = BoostedConfig((bert.name,), folds=2, rounds=10, block=5, min_data=2)
    members.LINE_UPS[LINEUP] = lambda: (
        bert,
        replace(briefly(gated), pretrain=None),  # half the time
        Member("boosted", boosted, (0,), pretrain=None),
    )


def start(folder: Path, data: Path) -> int:
    """Type the command in a process of its own; returns the process's id."""
    pid = os.fork()
    if pid:
        return pid
    os.chdir(folder)  # its submissions are written here
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}"
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv = ["training", "run", "--lineup", LINEUP, "--data", str(data), "--trials", "6"]
    runpy.run_module("training", run_name="__main__")
    sys.exit(0)


def ended(pid: int, seconds: float) -> int | None:
    """The exit code of a process, None if it is alive after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            return None
        time.sleep(POLL_SECONDS)


def empty(folder: Path, name: str) -> Path:
    """A folder with an empty store."""
    place = folder / name
    (place / "mlruns").mkdir(parents=True)
    shutil.copy(folder / "mlflow.db", place / "mlruns")
    return place


def main(folder: Path, data: Path, kills: int) -> None:
    install()
    began = time.monotonic()
    assert ended(start(empty(folder, "whole"), data), PATIENCE) == 0
    whole = time.monotonic() - began
    print(f"whole: {whole:.1f} s", flush=True)
    rng, signals, killed = random.Random(0), itertools.cycle(SIGNALS), 0
    for number in itertools.count(1):
        place, code, before, began = empty(folder, str(number)), None, killed, time.monotonic()
        while code is None:
            pid = start(place, data)
            seconds = rng.uniform(0, whole) if killed < kills else PATIENCE
            code = ended(pid, seconds)
            if code is None:
                chosen = next(signals)
                os.kill(pid, chosen)
                killed += 1
                print(f"{number}: {chosen.name} after {seconds:.1f} s, exit code {ended(pid, PATIENCE)}", flush=True)
        assert code == 0, (place / "log.txt").read_text()
        if killed == before:  # the machine was busier at first: no moment is to be after the end
            whole = min(whole, time.monotonic() - began)
        if killed == kills:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
