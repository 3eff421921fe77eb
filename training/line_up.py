"""All stages of a line-up and of its ensemble, and a table of the results."""

import logging
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlencode

import polars as pl

from files.replacing import replacing
from scoring.tracked import stages as ensemble_stages
from scoring.tracked.ensemble_model import CHECKPOINT
from scoring.weights.settings import SearchSettings
from terminal.cli import counted, typed
from terminal.notify import notifying
from tracking import metrics, runs, views
from tracking.outbox import waiting_text
from tracking.store import Away, ui_address
from tracking.writing import prepare
from training.cluster import run_here, run_on
from training.fit import processes
from training.fit.options import TorchOptions
from training.job import Job
from training.listing import parameters
from training.member import Member
from training.members import SEED, line_up
from videos.judgments import Judgments
from videos.segments import segments_of
from videos.store import FrameStore, open_frames

log = logging.getLogger(__name__)

SUBMISSIONS = Path("submissions")  # folder of the fused test splits, as Kaggle CSVs


def run(
    lineup: str,
    data: Path,
    *,
    search: SearchSettings,
    force: bool,
    options: TorchOptions,
    scheduler: str | None = None,
    notify: str | None = None,
    final: bool = False,
) -> None:
    """Train, predict, merge, search the weights on the holdout, fuse holdout and test, and print the results.

    `final` (or a line-up whose name ends so) fits the members of the finished line-up again instead, on everything
    rated, and fuses the test split by its weights. The submission of the test split is written to `SUBMISSIONS`.

    At the end, however it ends, a warning says what the tracking server has missed, and `notify` is run
    (`terminal.notify`).

    Members that cannot be built on this dataset are left out, with the reason. ValueError before any training if a
    stage is bound to fail or the holdout cannot decide about weights. If a member fails later, the others continue
    without it and those that build on it; at the end RuntimeError names them with their reasons. With the address of a
    Dask `scheduler`, its workers train and predict; the ensemble is made here.
    """
    processes.alone("run")
    store = open_frames(data.resolve() if scheduler else data)  # workers have working directories of their own
    if final:
        lineup = f"{runs.first_lineup(lineup)}{runs.FINAL}"
    with notifying(notify, {"RUN_DATASET": store.dataset.name, "RUN_LINEUP": lineup}):
        try:
            if runs.is_final(lineup):
                _refit(lineup, store, force, options, scheduler)
            else:
                _run(lineup, store, search, force, options, scheduler)
        finally:
            if waiting := waiting_text():
                log.warning("THE RECORD IS OFFLINE: %s", waiting)


def train(lineup: str, data: Path, *, splits: Sequence[str], force: bool, options: TorchOptions) -> None:
    """Train the members of a line-up and predict `splits` with each; no ensemble is made of them.

    Members are left out, refused and reported as by `run`.
    """
    processes.alone("train")
    jobs = _checked_jobs(lineup, open_frames(data), force, options)
    _prepare_store()
    failed = {name: outcome for name, outcome in run_here(jobs, splits).items() if isinstance(outcome, str)}
    if failed:
        raise RuntimeError(_failure(failed, len(jobs)))


def _checked_jobs(lineup: str, store: FrameStore, force: bool, options: TorchOptions) -> list[Job]:
    """One job per member that this dataset allows; ValueError if a stage of one is bound to fail."""
    members = usable(line_up(lineup), store)
    jobs = [Job(lineup=lineup, member=member, store=store, force=force, options=options) for member in members]
    for job in jobs:
        for stage in ("pretrain", "finetune", "infer"):
            job.check(stage)
    return jobs


def _prepare_store() -> None:
    """Begin writing to the tracking store; an error of a server that refuses, is too old or does not exist."""
    try:
        prepare()
    except Away as error:
        log.warning("THE RECORD IS OFFLINE: %s; training goes on, and what the server misses is sent later", error)


def _run(
    lineup: str, store: FrameStore, search: SearchSettings, force: bool, options: TorchOptions, scheduler: str | None
) -> None:
    jobs = _checked_jobs(lineup, store, force, options)
    judgments = _holdout_judgments(store)
    _prepare_store()
    splits = [split for split in ("holdout", "test") if not store.split(split).is_empty()]
    trained, failed = _trained(jobs, splits, scheduler)
    inferred = {split: _inferred(trained, split) for split in splits}
    members = [job.member for job in jobs if job.member.name in trained]
    if not members:
        raise RuntimeError(_failure(failed, len(jobs)))
    experiment = store.dataset.name
    for split in splits:
        ensemble_stages.merge_members(experiment, lineup, split=split, members=inferred[split], force=force)
    optimized = ensemble_stages.optimize_members(
        experiment, lineup, members=inferred["holdout"], judgments=judgments, search=search, force=force
    )
    fused = {
        split: ensemble_stages.fuse_members(
            experiment,
            lineup,
            split=split,
            members=inferred[split],
            judgments=judgments if split == "holdout" else None,
            force=force,
            optimized=optimized.run_id,
        )
        for split in splits
    }
    title = f"MAP@100K on the holdout of {experiment}, line-up {lineup}"
    doubt = ensemble_stages.report_of(fused["holdout"]).doubt(typed("python -m training", "--shrink", "0.5"))
    print_results(title, members, trained, optimized.metrics, fused["holdout"].metrics, doubt)
    address = f"http://127.0.0.1:8501/?{urlencode({'dataset': experiment, 'lineup': lineup})}"
    print(f"""\
Next:
  make dashboard   compare members and weights, {address}
  make ui          review the runs in MLflow, {ui_address()}/{views.address(optimized.experiment_id, "members")}""")
    if "test" in fused:
        print(f"  submit the ranked test split, {_write_submission(fused['test'])}")
    if failed:
        raise RuntimeError(_failure(failed, len(jobs)))


def _refit(lineup: str, store: FrameStore, force: bool, options: TorchOptions, scheduler: str | None) -> None:
    """The final refit of a line-up: fine-tuned on everything rated, predicted on the test split, and fused.

    Numbers of steps and weights are those of the first fit, so nothing is left to choose. RuntimeError if a member
    fails: the weights are those of all.
    """
    if store.split("test").is_empty():
        raise ValueError(f"{store.folder} has no video in the split test, which a final refit predicts; ingest some")
    search, jobs = _first_fit(_checked_jobs(lineup, store.without_holdout(), force, options))
    _prepare_store()
    trained, failed = _trained(jobs, ["test"], scheduler)
    if failed:
        raise RuntimeError(_failure(failed, len(jobs)))
    fused = ensemble_stages.fuse_members(
        store.dataset.name,
        lineup,
        split="test",
        members=_inferred(trained, "test"),
        force=force,
        optimized=search.run_id,
    )
    rated = len(jobs[0].store.split("finetune"))
    print(f"""\
Final refit of the line-up {jobs[0].first.lineup} on {store.dataset.name}: {counted(len(jobs), "member")}, \
fine-tuned on all {rated:,} rated videos, the holdout included.
Steps and weights are those found before; no judgments are left to measure it on.

Next:
  submit the ranked test split, {_write_submission(fused)}""")


def _first_fit(jobs: Sequence[Job]) -> tuple[runs.Record, list[Job]]:
    """The search of the line-up that `jobs` refit, and those of its members.

    ValueError with the command if that line-up is not finished, or has been trained again since the search.
    """
    lineup, folder = jobs[0].first.lineup, jobs[0].store.folder
    remedy = f"run `python -m training run --lineup {lineup} --data {folder}` first, with the same options"

    def unfinished(reason: str) -> ValueError:
        return ValueError(f"the line-up {lineup} is not finished ({reason}), so it has no final refit; {remedy}")

    searches = runs.find_runs(jobs[0].experiment, lineup=lineup, stage="optimize")
    if not searches:
        raise unfinished("no weights have been searched")
    weighed = searches[0].members
    if missing := sorted(set(weighed) - {job.member.name for job in jobs}):
        raise unfinished(f"its weights are of other members: {', '.join(missing)}")
    chosen = [job for job in jobs if job.member.name in weighed]
    for job in chosen:
        name = job.member.name
        try:
            tuned = job.first.finetuned()
        except ValueError as error:
            raise unfinished(f"{name} is not fine-tuned as configured on this data") from error
        if runs.get_run(searches[0].infer_runs[name]).params[CHECKPOINT] != tuned.run_id:
            raise unfinished(f"{name} was trained again after the search for weights")
    return searches[0], chosen


def _trained(
    jobs: Sequence[Job], splits: Sequence[str], scheduler: str | None
) -> tuple[dict[str, list[runs.Record]], dict[str, str]]:
    """The runs of the stages of each member, and the reasons of those that failed."""
    outcomes = run_here(jobs, splits) if scheduler is None else run_on(scheduler, jobs, splits)
    failed = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, str)}
    return {name: outcome for name, outcome in outcomes.items() if not isinstance(outcome, str)}, failed


def _inferred(trained: Mapping[str, Sequence[runs.Record]], split: str) -> dict[str, str]:
    """The id of each member's infer run of a split."""
    return {
        name: record.run_id
        for name, own in trained.items()
        for record in own
        if record.tags[runs.STAGE] == "infer" and record.tags[runs.SPLIT] == split
    }


def _write_submission(fused: runs.Record) -> Path:
    """Copy the Kaggle CSV of a fuse run of the test split to `SUBMISSIONS`; returns the file."""
    path = SUBMISSIONS / submission_name(fused.experiment, fused.tags[runs.LINEUP])
    with replacing(path) as temporary:
        shutil.copyfile(fused.artifact("submission.csv"), temporary)
    return path


def submission_name(dataset: str, lineup: str) -> str:
    """The name of the submission of a line-up: `audioset-test.csv`, `audioset-final.csv`, `synthetic-demo-test.csv`.

    A line-up that is named as its dataset is not repeated, also not with a seed: `audioset-seed2-test.csv`.
    """
    first = runs.first_lineup(lineup)
    seeded = SEED.fullmatch(first)
    plain = seeded["lineup"] if seeded else first
    whose = first if plain == dataset else f"{dataset}-{first}"
    return f"{whose}-{'final' if runs.is_final(lineup) else 'test'}.csv"


def _failure(failed: Mapping[str, str], count: int) -> str:
    reasons = "; ".join(f"{name} ({reason})" for name, reason in failed.items())
    remedy = "mend that and type the command again: finished stages are not repeated"
    return f"{len(failed)} of {count} members failed: {reasons}; {remedy}"


def print_results(
    title: str,
    members: Sequence[Member],
    trained: Mapping[str, Sequence[runs.Record]],
    optimized: Mapping[str, float],
    fused: Mapping[str, float],
    doubt: Sequence[str],
) -> None:
    """Print each member's MAP on the holdout after each stage, its weight, and the ensemble's MAP.

    `trained` are the pretrain and finetune runs of each member, `optimized` and `fused` the metrics of the ensemble's
    runs, `doubt` the lines of its report (`Report.doubt`).
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in ("member", "framework"):
        table.add_column(column, no_wrap=True)
    for column in ("pre-trained", "fine-tuned", "merged over shifts", "weight"):
        table.add_column(column, justify="right", no_wrap=True)
    for member in members:
        after = {key: value for run in trained[member.name] for key, value in run.metrics.items()}
        maps = [after.get(metrics.map_of(stage)) for stage in (metrics.PRETRAINED, metrics.FINETUNED)]
        maps.append(optimized[metrics.map_of(member.name)])
        cells = ["-" if value is None else f"{value:.4f}" for value in maps]
        table.add_row(member.name, member.framework, *cells, f"{fused[metrics.weight(member.name)]:.3f}")
    summary = Table(title="The ensemble, its weights found on that holdout", title_justify="left")
    for column in ("", "whole holdout", "cross-validated"):
        summary.add_column(column, justify="right" if column else "left", no_wrap=True)
    names = (metrics.map_of, metrics.cross_validated)
    rows = {
        metrics.ENSEMBLE: "ensemble",
        metrics.EQUAL_WEIGHTS: "equal weights",
        metrics.BEST_MEMBER: "best member",
    }
    for subject, words in rows.items():
        cells = [_with_gain(fused.get(name(subject)), fused.get(name(metrics.ENSEMBLE))) for name in names]
        summary.add_row(words, *cells)
    # A file or a pipe has no width, and rich's default would truncate names.
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(table)
    console.print(summary)
    low, high = fused[metrics.low(metrics.ENSEMBLE)], fused[metrics.high(metrics.ENSEMBLE)]
    print(f"""\
95 % interval of the ensemble over the holdout's videos: {low:.4f} to {high:.4f}.
Cross-validated: chosen on half of the videos, scored on the other half, several times. Compare within
that column: a half holds fewer segments of each class, so that the two columns differ by themselves.""")
    print(*doubt, sep="\n")


def _with_gain(value: float | None, ensemble: float | None) -> str:
    """ "0.7985 (ensemble +0.0315)"; no parenthesis for the ensemble itself, "-" if unknown."""
    if value is None or ensemble is None:
        return "-"
    return f"{value:.4f}" + (f" (ensemble {ensemble - value:+z.4f})" if value != ensemble else "")


def usable(members: Sequence[Member], store: FrameStore) -> list[Member]:
    """The members that this dataset allows; logs why the others are left out."""
    usable: dict[str, Member] = {}
    for member in members:
        try:
            parameters(member, store.dataset)  # shapes are checked, nothing is allocated
            if missing := [base for base in member.config.builds_on if base not in usable]:
                raise ValueError(f"it builds on {', '.join(missing)}; give it other bases in training/members.py")
        except ValueError as error:
            log.info("%s is left out: %s", member.name, error)
        else:
            usable[member.name] = member
    if not usable:
        raise ValueError(f"no member of the line-up can be built on {store.folder}; see `python -m training members`")
    return list(usable.values())


def _holdout_judgments(store: FrameStore) -> Judgments:
    """The judgments by which weights are chosen; ValueError if finetune or holdout lacks ratings of scored classes."""

    def rated(split: str) -> pl.DataFrame:
        return store.judged(segments_of(store.split(split), store.dataset))

    judgments, is_scored = rated("holdout"), pl.col("class_id").is_in(store.dataset.scored_classes)
    if rated("finetune").filter(is_scored).is_empty():
        raise ValueError(f"{store.folder} rates no scored class in the split finetune; ingest rated shards")
    if judgments.filter(is_scored, pl.col("relevance") > 0).is_empty():
        raise ValueError(
            f"{store.folder} has no positive rating of a scored class in the split holdout, where weights are chosen; "
            "ingest more rated shards"
        )
    return Judgments(judgments)
