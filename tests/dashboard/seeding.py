"""Stores as the stages leave them: a finished line-up of three frameworks, and one in which a member failed."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest

from tracking.writing import open_parent, open_run

COMMON = {"config_digest": "0f1e2d3c4b5a6978", "data_digest": "5d41402abc4b2a76b9719d911017c592"}
# name -> framework, MAP pre-trained, fine-tuned, per shift, merged, weight
MEMBERS = {
    "bert-l2h12-mean": ("torch", 0.5712, 0.6693, {-2: 0.6420, -1: 0.6655, 0: 0.6693, 1: 0.6588}, 0.6871, 0.47),
    "gated-netvlad": ("keras", 0.5391, 0.6204, {-1: 0.6150, 0: 0.6204, 1: 0.6121}, 0.6312, 0.18),
    "boosted": ("lightgbm", None, 0.6510, {0: 0.6510}, 0.6510, 0.35),
}
ENSEMBLE = {
    "ensemble/map_at_100k": 0.7204,
    "ensemble/low": 0.6958,
    "ensemble/high": 0.7441,
    "ensemble/cross_validated_map": 0.7103,
    "shrunk_weights/cross_validated_map": 0.7066,
    "ensemble/shrinkage": 0.0,
    "equal_weights/map_at_100k": 0.7065,
    "equal_weights/cross_validated_map": 0.7052,
    "best_member/map_at_100k": 0.6871,
    "best_member/cross_validated_map": 0.6845,
    "k": 5.0584,
}


def seed_member(name: str, experiment: str = "synthetic", lineup: str = "demo", seed: int = 0) -> None:
    """All stages of one member, as `python -m training run` logs them."""
    framework, pretrained, finetuned, shifts, merged, _ = MEMBERS[name]
    identity = {"dataset": experiment, "lineup": lineup, "member": name, "framework": framework}
    with open_parent(experiment, name, {**identity, "kind": "member"}) as parent:
        for stage, score in {"pretrain": pretrained, "finetune": finetuned}.items():
            if score is None:
                continue
            with open_run(experiment, stage, {"stage": stage, **COMMON}, parent.run_id) as run:
                run.params({"layers": 2, "heads": 12, "learning_rate": 1e-3, "batch": 128, "seed": seed})
                for step in range(0, 400, 20):
                    run.metrics({"loss": 0.6 / (1 + step / 100) + 0.05, "learning_rate": 1e-3}, step)
                    run.metrics({"map_at_100k": score * (1 - 0.6 / (2 + step / 10))}, step)
                headline = {f"{'pretrained' if stage == 'pretrain' else 'finetuned'}/map_at_100k": score}
                run.metrics(headline)
                parent.metrics(headline)
        with open_run(
            experiment, "infer holdout", {"stage": "infer", "split": "holdout", **COMMON}, parent.run_id
        ) as run:
            run.params({"shifts": list(shifts)})
            run.metrics({f"shift{shift}/map_at_100k": score for shift, score in shifts.items()})
        parent.metrics({"merged/map_at_100k": merged})


def seed_ensemble(experiment: str = "synthetic", lineup: str = "demo", metrics: Mapping[str, float] = ENSEMBLE) -> None:
    """The runs of an ensemble over the members above, its search of 60 trials among them."""
    tags = {"dataset": experiment, "lineup": lineup, "kind": "ensemble"}
    weights = {name: member[-1] for name, member in MEMBERS.items()}
    scores = [0.7065 + 0.0139 * (1 - 0.93**trial) - 0.006 * ((trial * 7) % 5) / 4 for trial in range(60)]
    scores[:3] = [member[-2] for member in MEMBERS.values()]
    scores[41] = metrics["ensemble/map_at_100k"]
    trials = pl.DataFrame(
        {
            "trial": range(60),
            "source": ["member"] * 3 + ["warm"] * 4 + ["ax"] * 43 + ["climb"] * 10,
            "k": [5.06] * 60,
            "map": scores,
            "seconds": [0.4] * 60,
        }
    ).with_columns(best=pl.col("map").cum_max())
    with open_parent(experiment, f"ensemble {lineup}", tags) as parent:
        with open_run(experiment, "merge holdout", {"stage": "merge", "split": "holdout", **COMMON}, parent.run_id):
            pass
        with (
            open_run(experiment, "optimize", {"stage": "optimize", **COMMON}, parent.run_id) as run,
            tempfile.TemporaryDirectory() as folder,
        ):
            run.params({"trials": 60, "seed": 3})
            trials.write_parquet(Path(folder) / "trials.parquet")
            (Path(folder) / "weights.json").write_text(json.dumps({"k": metrics["k"], "weights": weights}))
            run.artifact(Path(folder) / "trials.parquet")
            run.artifact(Path(folder) / "weights.json")
            for trial, score in enumerate(scores):
                run.metrics({"map_at_100k": score, "best_map_at_100k": max(scores[: trial + 1])}, trial)
        with open_run(experiment, "fuse test", {"stage": "fuse", "split": "test", **COMMON}, parent.run_id):
            pass
        parent.metrics({**metrics, **{f"weight/{name}": weight for name, weight in weights.items()}})


def seed_failure(experiment: str = "audioset", lineup: str = "audioset") -> None:
    """A member that finished beside one whose fine-tuning broke off, and no ensemble yet."""
    seed_member("gated-netvlad", experiment, lineup)
    with pytest.raises(ValueError, match="not finite"):
        break_off(experiment, lineup, "bert-l2h8-mean")


def break_off(experiment: str, lineup: str, member: str) -> None:
    """A member that is pre-trained and fails while it is fine-tuned."""
    identity = {"dataset": experiment, "lineup": lineup, "member": member, "framework": "torch", "kind": "member"}
    with open_parent(experiment, member, identity) as parent:
        with open_run(experiment, "pretrain", {"stage": "pretrain", **COMMON}, parent.run_id) as run:
            run.metrics({"pretrained/map_at_100k": 0.4321})
            parent.metrics({"pretrained/map_at_100k": 0.4321})
        with open_run(experiment, "finetune", {"stage": "finetune", **COMMON}, parent.run_id):
            raise ValueError("the loss is not finite at step 17; lower the learning rate")
