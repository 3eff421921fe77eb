"""How far a line-up is: which stages have finished, are running, wait, failed, or build on runs that were repeated."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from dashboard.data import STATES, LineUp, mlflow_url, stage_name
from tracking import metrics
from tracking.runs import MEMBER, SPLIT, STAGE, Record, metric_history

MEMBER_STAGES = ("pretrain", "finetune", "infer holdout", "infer test")
ENSEMBLE_STAGES = ("merge holdout", "merge test", "optimize", "fuse holdout", "fuse test")
ENSEMBLE = "ensemble"  # the owner of the ensemble's stages
FINISHED, RUNNING, STALE, WAITING = "finished", "running", "stale", "waiting"
RECENT = 20  # points of a running stage from which its speed is taken


@dataclass(frozen=True)
class Position:
    """How far a running stage is.

    `done` of `total` steps (None if the stage counts none), `left` until its end at the present speed (None if
    unknown), and `seen`, the time of its last sign of life: a metric, else its start.
    """

    owner: str
    run: Record
    unit: str
    done: int | None
    total: int | None
    left: timedelta | None
    seen: datetime

    @property
    def share(self) -> float | None:
        """From 0 to 1."""
        return None if self.done is None or not self.total else min(self.done / self.total, 1.0)


def key(run: Record) -> str:
    """The stage of a run with its split: `finetune`, `infer holdout`."""
    return f"{run.tags.get(STAGE, run.name)} {run.tags.get(SPLIT, '')}".strip()


def board(line_up: LineUp) -> pl.DataFrame:
    """One row per stage that the line-up has or still needs: owner, stage, state (in words), why, url.

    `why` is the reason of a stale stage, else empty; `url` leads to the run in the MLflow UI. Stages on the test split
    are left out as long as no stage has one. A member that lacks a stage before one that it has needs none: some are
    not pre-trained, or predict by the weights of another.
    """
    has_test = any(key(run).endswith(" test") for _, runs in _owners(line_up) for run in runs)
    reasons = stale(line_up)
    rows = []
    for owner, runs in _owners(line_up):
        newest = {key(run): run for run in runs}
        order = ENSEMBLE_STAGES if owner == ENSEMBLE else MEMBER_STAGES
        for number, stage in enumerate(order):
            run = newest.get(stage)
            is_unneeded = owner != ENSEMBLE and any(later in newest for later in order[number:])
            is_skipped = is_unneeded or (stage.endswith(" test") and not has_test)
            if run is not None:
                why = reasons.get(run.run_id, "")
                state = STALE if why else STATES.get(run.status, run.status)
                rows.append((owner, stage, state, why, mlflow_url(run)))
            elif not is_skipped:
                rows.append((owner, stage, WAITING, "", None))
    return pl.DataFrame(rows, dict.fromkeys(("owner", "stage", "state", "why", "url"), pl.String), orient="row")


def stale(line_up: LineUp) -> dict[str, str]:
    """Id of each finished run that builds on a run which was repeated since, or lacks a member -> the reason."""
    newest = {(owner, key(run)): run for owner, runs in _owners(line_up) for run in runs}
    reasons: dict[str, str] = {}
    for owner, runs in _owners(line_up):
        order = ENSEMBLE_STAGES if owner == ENSEMBLE else MEMBER_STAGES
        for run in sorted(runs, key=lambda run: order.index(key(run)) if key(run) in order else 0):
            if run.status == "FINISHED" and (why := _why_stale(owner, run, newest, reasons)):
                reasons[run.run_id] = why
    return reasons


def running(line_up: LineUp) -> list[Position]:
    """The position of each running stage, those of members first; reads its history of a metric from the store."""
    return [_position(owner, run) for owner, runs in _owners(line_up) for run in runs if run.status == "RUNNING"]


def table(rows: pl.DataFrame, positions: Sequence[Position]) -> pl.DataFrame:
    """`board` with a row per owner and a column per stage, in the order of work; cells have a symbol and the state."""
    done = {(position.owner, key(position.run)): position.share for position in positions}
    cells = [
        _cell(state, done.get((owner, stage)))
        for owner, stage, state in rows.select("owner", "stage", "state").iter_rows()
    ]
    wide = rows.with_columns(cell=pl.Series(cells, dtype=pl.String)).pivot("stage", index="owner", values="cell")
    return wide.select("owner", *(stage for stage in (*MEMBER_STAGES, *ENSEMBLE_STAGES) if stage in wide.columns))


def counts(rows: pl.DataFrame) -> dict[str, int]:
    """State -> number of stages of `board` in it."""
    return dict(rows.group_by("state").len().iter_rows())


def position_text(position: Position, now: datetime | None = None) -> str:
    """`fine-tuning: step 8,400 of 20,000, about 12 min left`."""
    parts = []
    if position.done is not None and position.total:
        parts.append(f"{position.unit} {position.done:,} of {position.total:,}")
    if position.left is not None:
        parts.append(f"about {duration(position.left)} left")
    quiet = (now or datetime.now(UTC)) - position.seen
    if not parts or quiet > timedelta(minutes=5):
        parts.append(f"last sign of life {duration(quiet)} ago")
    return f"{stage_name(position.run)}: {', '.join(parts)}"


def duration(time: timedelta) -> str:
    """`40 s`, `12 min`, `3.5 h`, `2.1 days`."""
    seconds = max(time.total_seconds(), 0)
    for limit, size, unit in ((90, 1, "s"), (90 * 60, 60, "min")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 3600:.1f} h" if seconds < 36 * 3600 else f"{seconds / 86400:.1f} days"


def _owners(line_up: LineUp) -> Iterator[tuple[str, tuple[Record, ...]]]:
    for member in sorted(line_up.members, key=lambda member: member.name):
        yield member.name, member.stages
    yield ENSEMBLE, line_up.ensemble.stages if line_up.ensemble else ()


def _why_stale(
    owner: str, run: Record, newest: Mapping[tuple[str, str], Record], reasons: Mapping[str, str]
) -> str | None:
    inputs = list(_inputs(owner, run))
    for source, stage, run_id in inputs:
        upstream = newest.get((source, stage))
        whose = "" if source == owner else f" of {source}"
        if upstream is None or upstream.status != "FINISHED":
            continue
        if upstream.run_id != run_id:
            return f"builds on an earlier run of {stage_name(upstream)}{whose}"
        if run_id in reasons:
            return f"builds on {stage_name(upstream)}{whose}, which is stale"
    if owner == ENSEMBLE and inputs:
        split = run.tags.get(SPLIT, "holdout")
        predicted = {name for (name, stage), other in newest.items() if _is_done(other, stage, f"infer {split}")}
        if late := sorted(predicted - {source for source, _, _ in inputs}):
            return f"does not include {', '.join(late)}"
    return None


def _is_done(run: Record, stage: str, wanted: str) -> bool:
    return stage == wanted and run.status == "FINISHED" and MEMBER in run.tags


def _inputs(owner: str, run: Record) -> Iterator[tuple[str, str, str]]:
    """(owner, stage, run id) of each run that a run builds on, from the params that the stages log."""
    for name, value in run.params.items():
        if not value:
            continue
        if name == "start_run":
            yield owner, "pretrain", value
        elif name == "checkpoint_run":
            yield owner, "finetune", value
        elif name == "optimize_run":
            yield owner, "optimize", value
        elif name.startswith("infer_run/"):
            yield name.removeprefix("infer_run/"), f"infer {run.tags.get(SPLIT, 'holdout')}", value


def _position(owner: str, run: Record) -> Position:
    unit, total = _length(run)
    history = metric_history(run.run_id, metrics.LOSS if unit == "step" else metrics.MAP) if total else None
    if history is None or history.is_empty():
        return Position(owner, run, unit, None, total, None, run.start)
    # Fine-tuning continues the steps of pre-training, whose number is that of the first checkpoint.
    begin = _first_step(run) if unit == "step" else 0
    steps: list[int] = history["step"].to_list()
    times: list[datetime] = history["time"].to_list()
    done = steps[-1] - begin + (unit == "trial")  # trials are numbered from 0
    recent = min(RECENT, len(steps))
    speed = (steps[-1] - steps[-recent]) / max((times[-1] - times[-recent]).total_seconds(), 1e-3)
    left = timedelta(seconds=(total - done) / speed) if total and speed > 0 else None
    return Position(owner, run, unit, done, total, left, times[-1])


def _length(run: Record) -> tuple[str, int | None]:
    """The unit of a stage's progress, and how many it has."""
    settings = {name: int(value) for name, value in run.params.items() if re.fullmatch(r"\d+", value)}
    if run.tags.get(STAGE) == "optimize":
        members = len(run.params.get("members", "").split(", "))
        return "trial", settings.get("trials", 0) + settings.get("polish", 0) + members
    if "rounds" in settings:
        return "round", settings["rounds"]
    return "step", settings.get("steps")


def _first_step(run: Record) -> int:
    checkpoints = metric_history(run.run_id, metrics.MAP)
    return 0 if checkpoints.is_empty() else int(checkpoints["step"][0])


def _cell(state: str, share: float | None) -> str:
    symbols = {FINISHED: "✓", RUNNING: "▶", STALE: "↻", WAITING: "…", "failed": "✕", "stopped": "■"}
    percent = "" if share is None else f" {share:.0%}"
    return f"{symbols.get(state, '?')} {state}{percent}"
