"""Stores as the stages leave them: a finished line-up of three frameworks, and one in which a member failed.

Runs are opened by `Stage` and metrics named by the code that logs them, so that a test which finds its numbers here
finds them after a real run too.
"""

import json
import tempfile
from pathlib import Path

import polars as pl
import pytest

from scoring.measures.bootstrap import Difference
from scoring.tracked.logs import ensemble_metrics
from scoring.weights.cross_validation import CrossValidation
from scoring.weights.report import Report
from tracking import metrics
from tracking.stage import Parent, Stage

DATA = "5d41402abc4b2a76b9719d911017c592"
# name -> framework, MAP pre-trained, fine-tuned, per shift, merged, weight
MEMBERS = {
    "bert-l2h12-mean": ("torch", 0.5712, 0.6693, {-2: 0.6420, -1: 0.6655, 0: 0.6693, 1: 0.6588}, 0.6871, 0.47),
    "gated-netvlad": ("keras", 0.5391, 0.6204, {-1: 0.6150, 0: 0.6204, 1: 0.6121}, 0.6312, 0.18),
    "boosted": ("lightgbm", None, 0.6510, {0: 0.6510}, 0.6510, 0.35),
}
MAP = 0.7204  # of the ensemble


def member_stage(name: str, stage: str, experiment: str, lineup: str, split: str = "") -> Stage:
    framework = MEMBERS[name][0] if name in MEMBERS else "torch"
    identity = {"dataset": experiment, "lineup": lineup, "member": name, "kind": "member"}
    parent = Parent(name=name, identity=identity, tags={"framework": framework})
    return Stage(
        experiment=experiment, parent=parent, stage=stage, digest="0f1e2d3c4b5a6978", data_digest=DATA, split=split
    )


def ensemble_stage(stage: str, experiment: str, lineup: str, split: str = "") -> Stage:
    identity = {"dataset": experiment, "lineup": lineup, "kind": "ensemble"}
    parent = Parent(name=f"ensemble {lineup}", identity=identity, tags={})
    return Stage(
        experiment=experiment, parent=parent, stage=stage, digest="0f1e2d3c4b5a6978", data_digest=DATA, split=split
    )


def seed_member(name: str, experiment: str = "synthetic", lineup: str = "demo", seed: int = 0) -> None:
    """All stages of one member, as `python -m training run` logs them."""
    _, pretrained, finetuned, shifts, merged, _ = MEMBERS[name]
    subjects = {"pretrain": (metrics.PRETRAINED, pretrained), "finetune": (metrics.FINETUNED, finetuned)}
    for stage, (subject, score) in subjects.items():
        if score is None:
            continue
        with member_stage(name, stage, experiment, lineup).open() as opened:
            opened.run.params({"layers": 2, "heads": 12, "learning_rate": 1e-3, "batch": 128, "seed": seed})
            for step in range(0, 400, 20):
                opened.run.metrics({metrics.LOSS: 0.6 / (1 + step / 100) + 0.05, metrics.LEARNING_RATE: 1e-3}, step)
                opened.run.metrics({metrics.MAP: score * (1 - 0.6 / (2 + step / 10))}, step)
            opened.run.metrics({metrics.SECONDS: 60.0, metrics.CHOSEN_STEP: 380})
            opened.headline({metrics.map_of(subject): score})
    with member_stage(name, "infer", experiment, lineup, "holdout").open() as opened:
        opened.run.params({"shifts": list(shifts)})
        opened.headline({metrics.map_of(metrics.shift(shift)): score for shift, score in shifts.items()})
        opened.parent.metrics({metrics.map_of(metrics.MERGED): merged})  # as the search for weights does


def seed_ensemble(experiment: str = "synthetic", lineup: str = "demo", cross_validated: float = 0.7103) -> None:
    """The runs of an ensemble over the members above, its search of 60 trials among them."""
    weights = {name: member[-1] for name, member in MEMBERS.items()}
    k = 5.0584
    scores = [0.7065 + 0.0139 * (1 - 0.93**trial) - 0.006 * ((trial * 7) % 5) / 4 for trial in range(60)]
    scores[:3] = [member[-2] for member in MEMBERS.values()]
    scores[41] = MAP
    trials = pl.DataFrame(
        {
            "trial": range(60),
            "source": ["member"] * 3 + ["warm"] * 4 + ["ax"] * 43 + ["climb"] * 10,
            "k": [k] * 60,
            "map": scores,
            "seconds": [0.4] * 60,
        }
    ).with_columns(best=pl.col("map").cum_max())
    with ensemble_stage("merge", experiment, lineup, "holdout").open():
        pass
    with ensemble_stage("optimize", experiment, lineup).open() as opened, tempfile.TemporaryDirectory() as folder:
        opened.run.params({"trials": 60, "seed": 3})
        trials.write_parquet(Path(folder) / "trials.parquet")
        (Path(folder) / "weights.json").write_text(json.dumps({"k": k, "weights": weights}))
        opened.run.artifact(Path(folder))
        for name, (*_, merged, _) in MEMBERS.items():
            opened.run.metrics({metrics.map_of(name): merged, metrics.low(name): merged - 0.02})
            opened.run.metrics({metrics.high(name): merged + 0.02})
        for trial, score in enumerate(scores):
            opened.run.metrics({metrics.MAP: score, metrics.BEST_MAP: max(scores[: trial + 1])}, trial)
    with ensemble_stage("fuse", experiment, lineup, "test").open() as opened:
        shares = {metrics.weight(name): weight for name, weight in weights.items()}
        opened.headline({**shares, metrics.K: k})
        opened.parent.metrics(ensemble_metrics(report(weights, k, cross_validated)))


def report(weights: dict[str, float], k: float, cross_validated: float) -> Report:
    """What the search reports of the ensemble: its figures in a report as `fuse` reads it back."""
    members = {name: member[-2] for name, member in MEMBERS.items()}
    return Report(
        map=MAP,
        interval=(0.6958, 0.7441),
        k=k,
        weights=weights,
        members=members,
        intervals={name: (score - 0.02, score + 0.02) for name, score in members.items()},
        equal_weights=0.7065,
        equal_weights_interval=(0.6821, 0.7300),
        cross_validated=CrossValidation(
            fitted=cross_validated, shrunk=0.7066, equal_weights=0.7052, best_member=0.6845
        ),
        better_than_best_member=Difference(0.0333, 0.0112, 0.0541, 1.0, 0.004, 40),
        leave_one_out=dict.fromkeys(weights, 0.01),
        unit="video",
        units=40,
        shrink=0.0,
        seed=0,
        cutoff=100_000,
        mode="strict",
    )


def seed_failure(experiment: str = "audioset", lineup: str = "audioset") -> None:
    """A member that finished beside one whose fine-tuning broke off, and no ensemble yet."""
    seed_member("gated-netvlad", experiment, lineup)
    with pytest.raises(ValueError, match="not finite"):
        break_off(experiment, lineup, "bert-l2h8-mean")


def break_off(experiment: str, lineup: str, member: str) -> None:
    """A member that is pre-trained and fails while it is fine-tuned."""
    with member_stage(member, "pretrain", experiment, lineup).open() as opened:
        opened.headline({metrics.map_of(metrics.PRETRAINED): 0.4321})
    with member_stage(member, "finetune", experiment, lineup).open():
        raise ValueError("the loss is not finite at step 17; lower the learning rate")
