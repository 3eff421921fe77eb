"""A line-up with real lists: members of generated skill predict generated videos; the stages of scoring do the rest.

What the dashboard reads of it (judged pairs, similarity, first segments, reports) is what these stages log.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from scoring.tracked.stages import fuse_members, merge_members
from scoring.weights.weights_json import Weights
from tests.dashboard.seeding import DATA
from tracking import metrics
from tracking.runs import find_run
from tracking.stage import Parent, Stage
from videos.judgments import Judgments

SHIFTS = (-1, 0, 1)
FRAMES = 5  # per segment


def seed_lists(
    members: Sequence[str],
    *,
    experiment: str = "synthetic",
    lineup: str = "lists",
    classes: int = 6,
    videos: int = 40,
    segments: int = 6,
    judged: int = 20,
) -> Judgments:
    """Seed all stages of a line-up but the search; returns the holdout's judgments, `judged` pairs per class.

    The first member is the best. Each pair of neighbours shares half of its errors. The last member has no weight.
    """
    rng = np.random.default_rng(0)
    ids = [f"v{video:03d}:{FRAMES * number}" for video in range(videos) for number in range(segments)]
    truth = rng.random((classes, len(ids))) < 0.12
    truth |= np.roll(truth, 1, axis=1) & (rng.random(truth.shape) < 0.5)  # neighbours share what happens
    pairs = _judge(rng, truth, ids, judged)
    noise = rng.normal(size=(len(members) + 1, *truth.shape))
    for number, member in enumerate(members):
        errors = 0.7 * noise[number] + 0.7 * noise[number + 1]
        _seed_member(member, truth + (0.8 + 0.06 * number) * errors, ids, experiment, lineup, number)
    judgments = Judgments(pairs)
    shares = {member: 1.0 / (1 + number) for number, member in enumerate(members)}
    shares[members[-1]] = 0.0
    weights = Weights(5.0584, {member: share / sum(shares.values()) for member, share in shares.items()})
    for split, given in (("holdout", judgments), ("test", None)):
        merge_members(experiment, lineup, split=split, members=members)
        fuse_members(experiment, lineup, split=split, members=members, judgments=given, weights=weights)
    fused = find_run(experiment, lineup=lineup, stage="fuse", split="holdout")
    assert fused.metrics[metrics.map_of(metrics.ENSEMBLE)] > 0.3
    return judgments


def _judge(rng: np.random.Generator, truth: np.ndarray, ids: Sequence[str], judged: int) -> pl.DataFrame:
    rows = []
    for class_id, positive in enumerate(truth):
        share = 0.2 + 0.6 * rng.random()  # of the judged pairs that are positive
        some = [rng.choice(np.flatnonzero(positive), max(1, int(share * judged)), replace=False)]
        some.append(rng.choice(np.flatnonzero(~positive), judged - len(some[0]), replace=False))
        rows += [(class_id, ids[segment], int(positive[segment])) for segment in np.concatenate(some).tolist()]
    return pl.DataFrame(rows, ["class_id", "segment_id", "relevance"], orient="row")


def _seed_member(
    member: str, scores: np.ndarray, ids: Sequence[str], experiment: str, lineup: str, number: int
) -> None:
    """The runs of a member that scores segments (classes, segments) as given; its seed is the part after `-seed`."""
    name, _, seed = member.partition("-seed")
    identity = {"dataset": experiment, "lineup": lineup, "member": member, "kind": "member"}
    published = {"paper_name": "BERTMean(L2h12)", "published_map": "0.7725"} if member == "bert-l2h12-mean" else {}
    parent = Parent(name=member, identity=identity, tags={"framework": "torch", **published})

    def stage(name: str, split: str = "") -> Stage:
        return Stage(
            experiment=experiment, parent=parent, stage=name, digest=f"{number:016d}", data_digest=DATA, split=split
        )

    params = {"layers": 2 + len(name) % 3, "heads": 12, "seed": seed or "0", "parameters": 1_000_000 * (1 + number)}
    begin, start = 0, ""
    for which, subject, score in (
        ("pretrain", metrics.PRETRAINED, 0.5 - 0.01 * number),
        ("finetune", metrics.FINETUNED, 0.6 - 0.01 * number),
    ):
        with stage(which).open() as opened:
            opened.run.params({**params, "learning_rate": 1e-4, "steps": 400, "start_run": start})
            for step in range(0, 401, 20):
                if step:
                    opened.run.metrics({metrics.LOSS: 0.6 / (1 + (begin + step) / 100) + 0.05}, begin + step)
                if step % 100 == 0:
                    reached = score * (1 - 0.6 / (2 + step / 10)) - (0.01 if step == 400 else 0.0)
                    opened.run.metrics({metrics.MAP: reached}, begin + step)
            opened.run.metrics({metrics.SECONDS: 300.0 + 60 * number, metrics.CHOSEN_STEP: begin + 300})
            opened.headline({metrics.map_of(subject): score})
        start, begin = opened.run.run_id, begin + 400
    for split in ("holdout", "test"):
        with stage("infer", split).open() as opened, tempfile.TemporaryDirectory() as folder:
            opened.run.params({"shifts": list(SHIFTS), "checkpoint_run": start})
            opened.run.metrics({metrics.SECONDS: 20.0})
            if split == "holdout":
                opened.headline({metrics.map_of(metrics.shift(shift)): 0.55 - 0.01 * abs(shift) for shift in SHIFTS})
            _write_predictions(Path(folder), scores, ids)
            opened.run.artifact(Path(folder), "predictions")
        opened.parent.metrics({metrics.map_of(metrics.MERGED): 0.62 - 0.01 * number})


def _write_predictions(folder: Path, scores: np.ndarray, ids: Sequence[str]) -> None:
    """The predictions under each shift as `infer` writes them: coded lists with scores."""
    order = np.argsort(np.array(ids, dtype=np.bytes_))
    pl.DataFrame({"segment_id": [ids[place] for place in order]}).write_parquet(folder / "segments.parquet")
    for shift in SHIFTS:
        shifted = (0.8 * scores + 0.2 * np.roll(scores, shift, axis=1))[:, order].astype(np.float32)
        ranked = np.argsort(-shifted, axis=1, kind="stable").astype(np.uint32)
        table = pl.DataFrame(
            {
                "class_id": pl.Series(range(len(scores)), dtype=pl.UInt16),
                "segments": pl.Series(ranked.tolist(), dtype=pl.List(pl.UInt32)),
                "scores": pl.Series(
                    np.take_along_axis(shifted, ranked.astype(np.int64), 1).tolist(), dtype=pl.List(pl.Float32)
                ),
            }
        )
        table.write_parquet(folder / f"shift{shift}.parquet")
