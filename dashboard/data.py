"""Reads line-ups, their members and their ensemble from the store, and prepares the tables of the pages."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import polars as pl

from dashboard.tables import signed
from scoring import paper
from tracking import metrics
from tracking.runs import (
    COMMIT,
    DATA_DIGEST,
    DIRTY,
    ERROR,
    FRAMEWORK,
    INFER_RUN,
    KIND,
    MEMBER,
    PAPER_NAME,
    PUBLISHED_MAP,
    SPLIT,
    STAGE,
    Record,
    find_runs,
)
from tracking.store import ui_address

FRAMEWORKS = {"torch": "PyTorch", "keras": "TensorFlow", "lightgbm": "LightGBM"}
STAGE_NAMES = {
    "ingest": "reading the data",
    "pretrain": "pre-training",
    "finetune": "fine-tuning",
    "infer": "inference",
    "merge": "merging shifts",
    "optimize": "the search for weights",
    "fuse": "fusion",
}
SOURCES = {"warm": "starting guess", "ax": "proposal", "climb": "polish"}
WHOLE, HELD_OUT = "on the whole holdout", "cross-validated"
STATES = {"FINISHED": "finished", "RUNNING": "running", "FAILED": "failed", "KILLED": "stopped", "SCHEDULED": "waiting"}


@dataclass(frozen=True)
class Member:
    """A member's run and the newest run of each of its stages; scores are MAP@100K on the holdout, None if missing.

    Scores and weight are of one chain of runs: those of stages that an earlier stage, repeated since, has outdated are
    None. `weighed` is the infer run that the newest search has weighed, None if unknown.
    """

    run: Record
    stages: tuple[Record, ...]
    share: float | None
    weighed: str | None = None

    @property
    def name(self) -> str:
        return self.run.tags[MEMBER]

    @property
    def framework(self) -> str:
        framework = self.run.tags.get(FRAMEWORK, "")
        return FRAMEWORKS.get(framework, framework)

    @property
    def paper_name(self) -> str | None:
        """Its name in the paper, None if the paper has no such member."""
        return self.run.tags.get(PAPER_NAME)

    @property
    def pretrained(self) -> float | None:
        return self.run.metrics.get(metrics.map_of(metrics.PRETRAINED))

    @property
    def finetuned(self) -> float | None:
        is_current = self._follows("finetune", "start_run", "pretrain")
        return self.run.metrics.get(metrics.map_of(metrics.FINETUNED)) if is_current else None

    @property
    def published(self) -> float | None:
        """Private MAP@100K of the paper's member, on the paper's data."""
        try:
            return float(self.run.tags[PUBLISHED_MAP])
        except (KeyError, ValueError):  # the paper has none of it, or the tag was changed
            return None

    @property
    def merged(self) -> float | None:
        return self.run.metrics.get(metrics.map_of(metrics.MERGED)) if self._is_weighed else None

    @property
    def weight(self) -> float | None:
        return self.share if self._is_weighed else None

    @property
    def _is_weighed(self) -> bool:
        """Whether the newest search has weighed the predictions of the newest weights."""
        infer = finished(self.stages, "infer", "holdout")
        return (
            self._follows("finetune", "start_run", "pretrain")
            and self._follows("infer", "checkpoint_run", "finetune")
            and (self.weighed is None or infer is None or infer.run_id == self.weighed)
        )

    def _follows(self, stage: str, param: str, earlier: str) -> bool:
        """Whether the newest finished run of a stage builds on that of an earlier one, as far as they are known."""
        run, source = (
            finished(self.stages, stage, "holdout" if stage == "infer" else ""),
            finished(self.stages, earlier),
        )
        used = run.params.get(param) if run else None
        return not used or source is None or used == source.run_id

    @property
    def best(self) -> float | None:
        """The score of the last stage that has one."""
        return next((score for score in (self.merged, self.finetuned, self.pretrained) if score is not None), None)

    @property
    def shifts(self) -> dict[int, float]:
        """Shift in frames -> MAP; empty before inference on the holdout."""
        holdout = (run for run in self.stages if (run.tags.get(STAGE), run.tags.get(SPLIT)) == ("infer", "holdout"))
        return metrics.shift_maps(next((run.metrics for run in holdout), {}))

    @property
    def state(self) -> str:
        """In words: finished, running fine-tuning, failed in fine-tuning, ..."""
        for stage in self.stages:
            if stage.status != "FINISHED":
                joint = " " if stage.status == "RUNNING" else " in "
                return f"{STATES.get(stage.status, stage.status)}{joint}{stage_name(stage)}"
        return STATES.get(self.run.status, self.run.status)


@dataclass(frozen=True)
class Ensemble:
    """The ensemble's run and its newest stages."""

    run: Record
    stages: tuple[Record, ...]

    @cached_property
    def trials(self) -> pl.DataFrame:
        """The trials of its search: trial, source (in words), map, best; empty without a search.

        Evaluations of single members, which are not proposals, are left out. ValueError if the file is missing.
        """
        return _trials(self.stages)

    def score(self, name: str) -> float | None:
        return self.run.metrics.get(name)

    @property
    def weights(self) -> dict[str, float]:
        return metrics.weights(self.run.metrics)


@dataclass(frozen=True)
class LineUp:
    """A line-up on a dataset: its members, best first, and its ensemble, None before the first merge."""

    dataset: str
    name: str
    members: tuple[Member, ...]
    ensemble: Ensemble | None


StageStates = frozenset[tuple[str, str, datetime | None]]


def stage_states(line_up: LineUp) -> StageStates:
    """(run id, status, end) of the members, the ensemble and their stages: equal until a stage begins or ends."""
    owners = [*line_up.members, *([line_up.ensemble] if line_up.ensemble else [])]
    return frozenset((run.run_id, run.status, run.end) for owner in owners for run in (owner.run, *owner.stages))


def line_up(dataset: str, name: str) -> LineUp:
    """Read the runs of a line-up, all in one query."""
    runs = find_runs(dataset, finished=False, lineup=name)
    parents = [run for run in runs if run.parent is None]
    parent = next((run for run in parents if run.tags.get(KIND) == "ensemble"), None)
    stages = _newest(runs, parent) if parent else ()
    ensemble = parent and Ensemble(parent, stages)
    members: dict[str, Member] = {}
    for run in parents:
        if run.tags.get(KIND) == "member" and MEMBER in run.tags:
            share = ensemble.weights.get(run.tags[MEMBER]) if ensemble else None
            search = finished(stages, "optimize")
            weighed = search.params.get(f"{INFER_RUN}{run.tags[MEMBER]}") if search else None
            members.setdefault(run.tags[MEMBER], Member(run, _newest(runs, run), share, weighed))
    ranked = sorted(members.values(), key=lambda member: (-(member.best or 0), member.name))
    return LineUp(dataset, name, tuple(ranked), ensemble)


def published_weights(line_up: LineUp) -> dict[str, float]:
    """Member -> its share in the paper's ensemble, for the members that the paper has."""
    names = {member.name: member.paper_name for member in line_up.members if member.paper_name}
    return paper.published_weights(names)


def mlflow_url(run: Record) -> str:
    """Address of a run in the MLflow UI."""
    return f"{ui_address()}/#/experiments/{run.experiment_id}/runs/{run.run_id}?workflowType=machine_learning"


def stage_name(stage: Record) -> str:
    name = STAGE_NAMES.get(stage.tags.get(STAGE, ""), stage.name)
    return f"{name} ({stage.tags[SPLIT]})" if SPLIT in stage.tags else name


def troubles(line_up: LineUp) -> list[tuple[str, Record]]:
    """(member or ensemble, run) of the stages whose newest run failed or was stopped."""
    owners = [(member.name, member.stages) for member in line_up.members]
    if line_up.ensemble:
        owners.append(("The ensemble", line_up.ensemble.stages))
    return [(owner, run) for owner, stages in owners for run in stages if run.status in ("FAILED", "KILLED")]


def error(run: Record) -> str:
    """The error message of a run, without the name of Python's exception and the full stop."""
    lines = run.tags.get(ERROR, "").splitlines() or ["no reason was recorded"]
    return re.sub(r"^\w+(Error|Exception): ", "", lines[0]).rstrip(". ") or "no reason was recorded"


def leaderboard(line_up: LineUp) -> pl.DataFrame:
    """One row per member, best first: member, framework, pretrained, finetuned, merged, weight, state, url."""
    return pl.DataFrame(
        [
            (m.name, m.framework, m.pretrained, m.finetuned, m.merged, m.weight, m.state, mlflow_url(m.run))
            for m in line_up.members
        ],
        schema={
            "member": pl.String,
            "framework": pl.String,
            "pretrained": pl.Float64,
            "finetuned": pl.Float64,
            "merged": pl.Float64,
            "weight": pl.Float64,
            "state": pl.String,
            "url": pl.String,
        },
        orient="row",
    )


def member_scores(line_up: LineUp) -> pl.DataFrame:
    """One row per member with a score, best first: member, map, low, high (its 95 % interval, null if not measured).

    The interval is that of the search, and left out if the member's score has changed since.
    """
    search = finished(line_up.ensemble.stages, "optimize") if line_up.ensemble else None
    rows = []
    for member in line_up.members:
        is_measured = search is not None and search.metrics.get(metrics.map_of(member.name)) == member.best
        measured = search.metrics if search is not None and is_measured else {}
        ends = (measured.get(metrics.low(member.name)), measured.get(metrics.high(member.name)))
        rows.append((member.name, member.best, *ends))
    schema = {"member": pl.String, "map": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    return pl.DataFrame(rows, schema, orient="row").drop_nulls("map")


def finished(stages: Iterable[Record], stage: str, split: str = "") -> Record | None:
    """The run of a stage (and split) among the newest ones of a member or an ensemble, if it has finished."""
    return next(
        (
            run
            for run in stages
            if (run.tags.get(STAGE), run.tags.get(SPLIT, ""), run.status) == (stage, split, "FINISHED")
        ),
        None,
    )


def stage_scores(line_up: LineUp) -> pl.DataFrame:
    """One row per member and stage with a score: member, stage (in words), map."""
    rows = [
        (member.name, stage, score)
        for member in line_up.members
        for stage, score in (
            ("Pre-trained", member.pretrained),
            ("Fine-tuned", member.finetuned),
            ("Shifts merged", member.merged),
        )
        if score is not None
    ]
    return pl.DataFrame(rows, {"member": pl.String, "stage": pl.String, "map": pl.Float64}, orient="row")


def shift_scores(line_up: LineUp) -> pl.DataFrame:
    """One row per member and shift, and one for all shifts merged: member, shift (in words), order, map, change.

    `change` is the difference to the member's score without a shift, null if that is unknown.
    """
    rows = []
    for member in line_up.members:
        unshifted = member.shifts.get(0)
        columns = [(_frames(shift), shift, score) for shift, score in member.shifts.items()]
        if member.shifts and member.merged is not None:
            columns.append(("merged", 1000, member.merged))
        for words, order, score in columns:
            rows.append((member.name, words, order, score, None if unshifted is None else score - unshifted))
    schema = {"member": pl.String, "shift": pl.String, "order": pl.Int64, "map": pl.Float64, "change": pl.Float64}
    return pl.DataFrame(rows, schema, orient="row")


def weight_shares(line_up: LineUp) -> pl.DataFrame:
    """One row per member of the ensemble, largest weight first: member, framework, weight (a share of 1)."""
    weights = line_up.ensemble.weights if line_up.ensemble else {}
    frameworks = {member.name: member.framework for member in line_up.members}
    rows = [(name, frameworks.get(name, "unknown"), weight) for name, weight in weights.items()]
    schema = {"member": pl.String, "framework": pl.String, "weight": pl.Float64}
    return pl.DataFrame(rows, schema, orient="row").sort(["weight", "member"], descending=[True, False])


def comparison(ensemble: Ensemble) -> pl.DataFrame:
    """MAP of the chosen weights and of the baselines: what, measure, map, low, high.

    `low` and `high` are the 95 % percentile interval on the whole holdout, null elsewhere.
    """
    subjects = {
        "Best member alone": metrics.BEST_MEMBER,
        "Equal weights": metrics.EQUAL_WEIGHTS,
        "Chosen weights": metrics.ENSEMBLE,
    }
    measures = {WHOLE: metrics.map_of, HELD_OUT: metrics.cross_validated}
    rows = []
    for what, subject in subjects.items():
        for measure, metric in measures.items():
            ends = (metrics.low, metrics.high) if measure == WHOLE else ()
            low, high = (ensemble.score(end(subject)) for end in ends) if ends else (None, None)
            rows.append((what, measure, ensemble.score(metric(subject)), low, high))
    schema = {"what": pl.String, "measure": pl.String, "map": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    return pl.DataFrame(rows, schema, orient="row").drop_nulls("map")


def recommendation(ensemble: Ensemble) -> str | None:
    """What to submit by the cross-validated figures, in a sentence; None if they were not measured."""
    choices = {
        "the ensemble with the chosen weights": metrics.ENSEMBLE,
        "the ensemble with equal weights": metrics.EQUAL_WEIGHTS,
        "the best member alone": metrics.BEST_MEMBER,
    }
    measured = {name: ensemble.score(metrics.cross_validated(subject)) for name, subject in choices.items()}
    scores = {name: score for name, score in measured.items() if score is not None}
    if len(scores) < len(choices):
        return None
    best = max(scores, key=lambda name: scores[name])
    others = ", ".join(f"{score:.4f} for {name}" for name, score in scores.items() if name != best)
    return f"By the cross-validated figures, submit {best}: {scores[best]:.4f}, against {others}."


def gain_interval(ensemble: Ensemble) -> str | None:
    """How sure the ensemble's gain over its best member is, in a sentence; None if it was not measured."""
    low, high = ensemble.score(metrics.GAIN_LOW), ensemble.score(metrics.GAIN_HIGH)
    if low is None or high is None:
        return None
    verdict = "they are told apart" if low > 0 or high < 0 else "they are not told apart"
    interval = f"95 % interval of the gain {signed(low)} to {signed(high)}"
    return f"Ensemble and best member, paired on the whole holdout: {interval}, {verdict}."


def provenance(line_up: LineUp) -> pl.DataFrame:
    """One row per member and one for the ensemble: name, data, commit, seed, finished (UTC), url.

    A cell lists several values if the stages were run on several.
    """
    rows: list[tuple[str, str, str, str, datetime | None, str]] = []
    owners = [(member.name, member.run, member.stages) for member in line_up.members]
    if line_up.ensemble:
        owners.append(("ensemble", line_up.ensemble.run, line_up.ensemble.stages))
    for name, run, stages in owners:
        runs = (run, *stages)
        data = _listed((run.tags.get(DATA_DIGEST) for run in runs), 12)
        commit = _listed((run.tags.get(COMMIT) for run in runs), 8)
        commit += " + local changes" if any(run.tags.get(DIRTY) == "true" for run in runs) else ""
        seed = _listed(run.params.get("seed") for run in runs)
        rows.append((name, data, commit, seed, run.end, mlflow_url(run)))
    schema = {
        "name": pl.String,
        "data": pl.String,
        "commit": pl.String,
        "seed": pl.String,
        "finished": pl.Datetime("ms", "UTC"),
        "url": pl.String,
    }
    return pl.DataFrame(rows, schema, orient="row")


def _newest(runs: Sequence[Record], parent: Record) -> tuple[Record, ...]:
    """The newest run of each stage and split under `parent`, newest first."""
    newest: dict[tuple[str, str], Record] = {}
    for run in runs:
        if run.parent == parent.run_id:
            newest.setdefault((run.tags.get(STAGE, run.name), run.tags.get(SPLIT, "")), run)
    return tuple(newest.values())


def _trials(stages: Iterable[Record]) -> pl.DataFrame:
    optimize = finished(stages, "optimize")
    if optimize is None:
        return pl.DataFrame(schema={"trial": pl.Int64, "source": pl.String, "map": pl.Float64, "best": pl.Float64})
    trials = optimize.table("trials.parquet").sort("trial").filter(pl.col("source") != "member")
    return trials.select("trial", pl.col("source").replace(SOURCES), "map", best=pl.col("map").cum_max())


def _frames(shift: int) -> str:
    return "0" if shift == 0 else f"{shift:+d}".replace("-", "−")


def _listed(values: Iterable[str | None], length: int = 100) -> str:
    return ", ".join(sorted({value[:length] for value in values if value})) or "unknown"
