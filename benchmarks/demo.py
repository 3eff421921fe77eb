"""`python -m benchmarks.demo --seeds 5`: what each stage of the demo is worth, in several generated worlds.

Each seed is `make demo` on another world, in a process and a store of its own; what is there already is not repeated.
A stage earns its keep if the 95 % interval of its mean effect over the worlds (Student's t) is above 0.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import sqrt
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from benchmarks.scoring import RESULTS, commit
from tracking import metrics, runs
from videos.segments import segments_of
from videos.sources import synthetic
from videos.store import open_frames

EXPERIMENT, LINEUP = "synthetic", "demo"
TARGET = RESULTS / "demo.md"


@dataclass(frozen=True)
class World:
    """The demo in one world: MAP by member and stage, the ensemble's metrics, judged pairs, processor seconds."""

    seed: int
    members: Mapping[str, Mapping[str, float]]  # pretrained, finetuned, shift0, merged; a stage it has not is left out
    ensemble: Mapping[str, float]
    judgments: int
    seconds: float


@dataclass(frozen=True)
class Effect:
    """The differences of MAP that a stage makes, one per world."""

    stage: str
    differences: Sequence[float]

    @property
    def mean(self) -> float:
        return statistics.mean(self.differences)

    @property
    def half_width(self) -> float:
        """Half of the 95 % interval of the mean, by Student's t."""
        from scipy.stats import t

        count = len(self.differences)
        return float(t.ppf(0.975, count - 1)) * statistics.stdev(self.differences) / sqrt(count)

    @property
    def earns(self) -> bool:
        return self.mean > self.half_width


def run(
    seeds: Annotated[int, arg(metavar="N")] = 5,
    folder: Annotated[Path, arg(metavar="DIR")] = Path("data/demo-seeds"),
) -> None:
    """Run the demo in worlds 0 .. N-1, print the effects and write benchmarks/results/demo.md.

    Args:
        seeds: Number of worlds, at least 2.
        folder: Where data and runs of each world are kept.
    """
    if seeds < 2:
        raise SystemExit(f"--seeds is {seeds}; an interval needs at least 2")
    measured = commit()
    worlds = [world(seed, folder / f"seed{seed}") for seed in range(seeds)]
    text = "\n".join(report(worlds, measured))
    TARGET.write_text(text)
    print(text)


def world(seed: int, folder: Path) -> World:
    """The demo in the world of `seed`; its figures are in `folder`/world.json once it is done."""
    done = folder / "world.json"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        uri = f"sqlite:///{(folder / 'mlflow.db').absolute()}"
        environment = {**os.environ, "MLFLOW_TRACKING_URI": uri}
        data = str(folder / "data")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for command in (
            ["ingest", "synthetic", "--seed", str(seed), "--out", data],
            ["run", "--lineup", LINEUP, "--data", data, "--trials", "20"],
        ):
            subprocess.run([sys.executable, "-m", "training", *command], env=environment, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        os.environ["MLFLOW_TRACKING_URI"] = uri
        store = open_frames(folder / "data")
        judged = store.judged(segments_of(store.split("holdout"), store.dataset))
        done.write_text(json.dumps(figures() | {"judgments": len(judged), "seconds": seconds}))
    return World(seed=seed, **json.loads(done.read_text()))


def figures() -> dict[str, object]:
    """The figures of the line-up's runs in the store of MLFLOW_TRACKING_URI, as fields of `World`."""
    fused = runs.find_run(EXPERIMENT, lineup=LINEUP, stage="fuse", split="holdout").metrics
    optimized = runs.find_run(EXPERIMENT, lineup=LINEUP, stage="optimize").metrics
    members: dict[str, dict[str, float]] = {}
    for name in metrics.weights(fused):
        stages = runs.find_runs(EXPERIMENT, True, lineup=LINEUP, member=name)
        stages = [stage for stage in stages if stage.tags.get(runs.SPLIT) != "test"]
        values = {key: value for stage in stages for key, value in stage.metrics.items()}
        subjects = (metrics.PRETRAINED, metrics.FINETUNED, metrics.shift(0))
        maps = {subject: values.get(metrics.map_of(subject)) for subject in subjects}
        members[name] = {subject: value for subject, value in maps.items() if value is not None}
        members[name][metrics.MERGED] = optimized[metrics.map_of(name)]
    names = (metrics.map_of, metrics.cross_validated)
    subjects = (metrics.ENSEMBLE, metrics.EQUAL_WEIGHTS, metrics.BEST_MEMBER)
    keys = [*(name(subject) for name in names for subject in subjects), *(metrics.weight(name) for name in members)]
    ensemble = {key: fused[key] for key in keys if key in fused}
    return {"members": members, "ensemble": ensemble}


def effects(worlds: Sequence[World]) -> list[Effect]:
    """The effect of each stage: per neural member, then of the ensemble (cross-validated)."""
    measured = []
    for name, first in worlds[0].members.items():
        if metrics.PRETRAINED not in first:
            continue
        for stage, after, before in (
            (f"fine-tuning {name}, over pre-training alone", metrics.FINETUNED, metrics.PRETRAINED),
            (f"shifts of {name}, merged over shift 0", metrics.MERGED, metrics.shift(0)),
        ):
            measured.append(Effect(stage, [one.members[name][after] - one.members[name][before] for one in worlds]))
    for stage, baseline in (
        ("fusion, over the best member", metrics.BEST_MEMBER),
        ("weights, over equal ones", metrics.EQUAL_WEIGHTS),
    ):
        better, worse = metrics.cross_validated(metrics.ENSEMBLE), metrics.cross_validated(baseline)
        measured.append(Effect(stage, [one.ensemble[better] - one.ensemble[worse] for one in worlds]))
    return measured


def report(worlds: Sequence[World], measured: str) -> list[str]:
    """The lines of benchmarks/results/demo.md."""
    names = list(worlds[0].members)
    lines = [
        "# The demo, in several worlds",
        "",
        f"`python -m benchmarks.demo --seeds {len(worlds)}` at commit {measured}, {date.today()}: generated videos of",
        f"version {synthetic.VERSION}, MAP@100K on the holdout.",
        f"Judged pairs there: {min(one.judgments for one in worlds):,} or more.",
        "",
        "The effect of each stage: mean over the worlds, 95 % interval (Student's t), smallest. Fusion and weights are",
        "cross-validated.",
        "",
        "| stage | effect | interval | smallest | above 0 |",
        "|---|--:|--:|--:|---|",
    ]
    for one in effects(worlds):
        low, high = one.mean - one.half_width, one.mean + one.half_width
        cells = [f"{one.mean:+z.4f}", f"{low:+z.4f} to {high:+z.4f}", f"{min(one.differences):+z.4f}"]
        lines.append(f"| {one.stage} | {' | '.join(cells)} | {'yes' if one.earns else 'no'} |")
    lines += [
        "",
        "Merged MAP and weight of each member; MAP of the ensemble, then cross-validated with its baselines.",
        "",
        f"| seed | {' | '.join(names)} | ensemble | cross-validated | best member | equal weights | processor s |",
        "|--:|" + "--:|" * (len(names) + 5),
    ]
    for one in worlds:
        cells = [f"{one.members[name][metrics.MERGED]:.4f}, {one.ensemble[metrics.weight(name)]:.3f}" for name in names]
        subjects = (metrics.ENSEMBLE, metrics.BEST_MEMBER, metrics.EQUAL_WEIGHTS)
        cells += [f"{one.ensemble[metrics.map_of(metrics.ENSEMBLE)]:.4f}"]
        cells += [f"{one.ensemble[metrics.cross_validated(subject)]:.4f}" for subject in subjects]
        lines.append(f"| {one.seed} | " + " | ".join(cells) + f" | {one.seconds:.0f} |")
    return [*lines, ""]


if __name__ == "__main__":
    import tyro

    tyro.cli(run, prog="python -m benchmarks.demo")
