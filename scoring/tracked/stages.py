"""The stages of an ensemble as tracked runs: merge each member's shifts, search the weights, fuse.

All are child runs of the line-up's ensemble. A finished stage with the same digest is returned instead of repeated
(`tracking.stage`).
"""

import hashlib
import itertools
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from scoring.fusion.fusion import MEMBER_K, By
from scoring.fusion.workers import HERE, Workers, fuse_in_blocks, merge_in_blocks
from scoring.lists.ids import union_of_segments
from scoring.lists.opening import open_submission, open_submissions
from scoring.lists.ranked import K, RankedLists, parts, read_blocks
from scoring.lists.top_lists import TopLists
from scoring.lists.writing import write_blocks, write_coded
from scoring.measures.similarity import SIMILARITY_FILE, similarity
from scoring.tracked.ensemble_model import (
    CHECKPOINT,
    ensemble_digest,
    open_shifts,
    register_ensemble,
    settle_best,
    settle_members,
)
from scoring.tracked.figures import log_classes
from scoring.tracked.logs import (
    ensemble_metrics,
    ensemble_note,
    log_outcome,
    search_params,
    trial_metrics,
    weights_metrics,
)
from scoring.weights.find import measure, search_and_measure
from scoring.weights.judged_pairs import JUDGED_PAIRS, judged_pairs
from scoring.weights.objective import Objective
from scoring.weights.report import CONTENT, Report, read_report
from scoring.weights.settings import DEFAULTS, SearchSettings
from scoring.weights.trials import Trial
from scoring.weights.weights_json import Weights, read_weights
from terminal.cli import counted
from tracking import metrics, runs
from tracking.lineage import submission_digest
from tracking.operations import exists
from tracking.registry import ENSEMBLE_DIGEST, Version, registered_name, versions
from tracking.stage import Parent, Stage, digest
from tracking.store import local_folder, restore_command
from tracking.writing import Run
from videos.judgments import Judgments

log = logging.getLogger(__name__)

# Members of a line-up: their names (each with its newest infer run of the split), or the infer run's id by name.
Members = Sequence[str] | Mapping[str, str]
LONGEST_NAME = 100  # characters
TABLES = ("per_class.parquet", JUDGED_PAIRS, SIMILARITY_FILE)  # that the dashboard reads instead of the lists
Inferred = Mapping[str, runs.Record]  # the infer run of each member


@dataclass(frozen=True, kw_only=True)
class Named:
    """An ensemble that somebody saves under a name of its own, with the reason; its runs are not the line-up's."""

    name: str
    author: str
    reason: str

    def __post_init__(self) -> None:
        for field, value in (("name", self.name), ("author", self.author), ("reason", self.reason)):
            if not value.strip():
                raise ValueError(f"a saved ensemble needs a name, an author and a reason; the {field} is empty")
        if len(self.name) > LONGEST_NAME:
            raise ValueError(f"the name of the ensemble has {len(self.name)} characters; at most {LONGEST_NAME} fit")


def save_ensemble(experiment: str, lineup: str, *, named: Named, weights: Weights, optimized: str) -> list[runs.Record]:
    """Fuse with given weights, under a name: the holdout, measured, and the test split if all members predicted it.

    `weights` has all members of the optimize run `optimized`, whose judgments they are measured on and whose infer runs
    of the holdout are fused. Returns the fuse runs, the holdout's first; ValueError if the line-up has an ensemble of
    this name already.
    """
    if runs.find_runs(experiment, finished=True, lineup=lineup, kind="named", **{runs.ENSEMBLE: named.name}):
        raise ValueError(f"the line-up {lineup} has an ensemble named {named.name} already; choose another name")
    search = runs.get_run(optimized)
    by: By = "score" if search.params.get("by") == "score" else "rank"
    # Members of weight 0 stay in: with the same members the merged lists of the search are used again.
    holdout = {member: search.params[f"infer_run/{member}"] for member in weights.weights}
    judgments = Judgments(_judgments_of(search), report_of(search).unit)
    saved = [
        fuse_members(
            experiment,
            lineup,
            split="holdout",
            members=holdout,
            judgments=judgments,
            by=by,
            weights=weights,
            named=named,
        )
    ]
    predicted = runs.find_runs(experiment, lineup=lineup, stage="infer", split="test")
    members = list(weights.weights)
    if set(members) <= {run.tags[runs.MEMBER] for run in predicted}:
        saved += [fuse_members(experiment, lineup, split="test", members=members, by=by, weights=weights, named=named)]
    return saved


def predicted_members(experiment: str, lineup: str, *, split: str) -> list[str]:
    """The members of a line-up that have predicted a split; ValueError with the remedy if none has."""
    inferred = runs.find_runs(experiment, lineup=lineup, stage="infer", split=split)
    if not inferred:
        raise ValueError(
            f"no member of the line-up {lineup} has predicted the {split} split of {experiment}; "
            f"run `python -m training run --lineup {lineup} --data DIR` first"
        )
    return sorted({run.tags[runs.MEMBER] for run in inferred})


def merge_members(
    experiment: str,
    lineup: str,
    *,
    split: str,
    members: Members,
    by: By = "rank",
    force: bool = False,
    workers: Workers = HERE,
) -> dict[str, Path]:
    """Merge the shifts of each member on a split; returns the folder of each member's merged lists.

    The run also has the first segments of every list (`scoring/lists/top_lists.py`).
    """
    inferred = _inferred(experiment, lineup, split, members)
    stage = _merge_stage(experiment, lineup, split, inferred, by)
    record = stage.run_once(force, lambda: _merge(stage, inferred, by, workers))
    return {member: record.artifact(member) for member in inferred}


def _merge_stage(experiment: str, lineup: str, split: str, inferred: Inferred, by: By) -> Stage:
    return _stage(experiment, lineup, "merge", digest("merge", split, by, _ids(inferred)), inferred, split)


def _merged(
    experiment: str, lineup: str, split: str, inferred: Inferred, by: By, workers: Workers
) -> dict[str, RankedLists]:
    """The merged lists of each member, opened; shifts that are not yet merged are merged first."""
    stage = _merge_stage(experiment, lineup, split, inferred, by)
    record = stage.finished() or stage.run_once(False, lambda: _merge(stage, inferred, by, workers))
    with record.reading(*inferred) as places:
        return open_submissions(places)


def _merge(stage: Stage, inferred: Inferred, by: By, workers: Workers) -> runs.Record:
    with stage.open() as opened:
        run = opened.run
        run.params({"members": ", ".join(inferred), "by": by, **_infer_params(inferred)})
        top_lists = TopLists()
        with tempfile.TemporaryDirectory() as folder:
            for member, record in inferred.items():
                shifts = list(open_shifts(record).values())
                segments = union_of_segments([shift.segments for shift in shifts])
                blocks = top_lists.collect(member, merge_in_blocks(shifts, by=by, workers=workers), segments)
                write_coded(blocks, segments, Path(folder) / member)
                run.metrics({metrics.shifts(member): len(shifts)})
                log.info("%s %s: %s merged", member, stage.name, counted(len(shifts), "shift"))
            top_lists.write(Path(folder))
            run.artifact(Path(folder))
    return opened.record()


def optimize_members(
    experiment: str,
    lineup: str,
    *,
    members: Members,
    judgments: Judgments,
    search: SearchSettings = DEFAULTS,
    by: By = "rank",
    force: bool = False,
    workers: Workers = HERE,
) -> runs.Record:
    """Search weights and k for the merged members on the holdout; returns the run of the search, with weights.json.

    The run also has the judged pairs with every member's rank (`scoring/weights/judged_pairs.py`) and the similarity of
    the members (`scoring/measures/similarity.py`). Judgments of segments outside the holdout are ignored. Each member's
    own MAP is also logged to its parent run.
    """
    inferred = _inferred(experiment, lineup, "holdout", members)
    merged = _merged(experiment, lineup, "holdout", inferred, by, workers)
    judgments = _predicted(judgments, merged)
    judged = _judgments_digest(judgments)
    content = _optimize_digest(by, inferred, judged, search)
    stage = _stage(experiment, lineup, "optimize", content, inferred)

    def work() -> runs.Record:
        return _optimize(stage, inferred, merged, judgments, judged, search, by)

    return stage.run_once(force, work)


def _optimize(
    stage: Stage,
    inferred: Inferred,
    merged: Mapping[str, RankedLists],
    judgments: Judgments,
    judged: str,
    search: SearchSettings,
    by: By,
) -> runs.Record:
    experiment, lineup = stage.experiment, stage.parent.identity[runs.LINEUP]
    unfinished = local_folder() / "searches" / f"{stage.digest}.jsonl"
    with stage.open() as opened:
        run = opened.run
        run.params({"members": ", ".join(inferred), "by": by, **search_params(search), **_infer_params(inferred)})
        run.dataset(f"{experiment} holdout judgments", judged, judgments.pairs, "holdout")
        with search_and_measure(merged, judgments, search, unfinished=unfinished, report=_logged(run)) as outcome:
            best, report = outcome.search, outcome.report
            log_outcome(run, outcome, report.weights_file(best.trials.height, _ids(inferred)))
            run.note(ensemble_note(experiment, lineup, report))
            with tempfile.TemporaryDirectory() as folder:
                # With the merged lists enough to compute MAP.
                judgments.pairs.write_parquet(Path(folder) / "judgments.parquet")
                similarity(merged).write_parquet(Path(folder) / SIMILARITY_FILE)
                run.artifact(Path(folder))
            run.flush()
    for member, record in inferred.items():
        if record.parent is None:
            continue
        if not exists(record.parent):
            text = "the run of %s was deleted and gets no merged MAP; bring it back with `%s`"
            log.warning(text, member, restore_command(record.parent))
            continue
        parent = Run(record.parent)
        parent.metrics({metrics.map_of(metrics.MERGED): best.members[member]})
        parent.flush()
        parent.tags({runs.OUTDATED: "none"})
    settle_members(inferred, merged, judgments, by)
    log.info(
        "ensemble optimize: MAP %.4f after %d trials; equal weights %.4f, best member %.4f",
        *(best.map, best.trials.height, best.equal_weights, best.members[best.best_member]),
    )
    return opened.record()


def _optimize_digest(by: By, inferred: Inferred, judged: str, search: SearchSettings) -> str:
    settings = (search.trials, search.seed, search.polish, float(search.shrink))
    return digest("optimize", by, _ids(inferred), judged, *settings, MEMBER_K, CONTENT)


def _logged(run: Run) -> Callable[[Trial], None]:
    """A function that logs each trial of a search at its own step."""
    steps, best = itertools.count(), 0.0

    def report(trial: Trial) -> None:
        nonlocal best
        best = max(best, trial.map)
        run.metrics(trial_metrics(trial.map, best=best, seconds=trial.seconds), next(steps))

    return report


def fuse_members(
    experiment: str,
    lineup: str,
    *,
    split: str,
    members: Members,
    judgments: Judgments | None = None,
    by: By = "rank",
    force: bool = False,
    optimized: str | None = None,
    weights: Weights | None = None,
    k: float | None = None,
    named: Named | None = None,
    workers: Workers = HERE,
) -> runs.Record:
    """Fuse the merged members of a split; logs coded lists and a Kaggle CSV.

    The weights are `weights`, else those of the optimize run `optimized`, else those of the line-up's newest optimize
    run; `k` overrides their k.

    With judgments (the holdout's) it also logs the tables of `optimize_members`, and the MAP with its interval and the
    cross-validated MAP of the ensemble, of equal weights and of the best member, to this run and to the ensemble's. If
    an optimize run has measured the same weights on the same lists and judgments, its report is reused. Weights that no
    search chose on these judgments are cross-validated as they are. A `named` ensemble has a parent run of its own.
    """
    inferred = _inferred(experiment, lineup, split, members)
    if weights is None:
        optimized, weights = _newest_weights(experiment, lineup, optimized, by)
    weights = weights if k is None else replace(weights, k=k, objective=weights.objective if k == weights.k else None)
    if optimized:
        _check_checkpoints(runs.get_run(optimized), inferred, split)
    merged = _merged(experiment, lineup, split, inferred, by, workers)
    judged = None if judgments is None else _predicted(judgments, merged)
    judged_digest = "" if judged is None else _judgments_digest(judged)
    voting = (optimized, weights.k, weights.weights)
    settings = (split, by, _ids(inferred), voting, judged_digest, CONTENT if judged_digest else None)
    content = digest("fuse", *settings, *([named.name] if named else []))
    stage = _stage(experiment, lineup, "fuse", content, inferred, split)
    if named is not None:
        stage = replace(stage, parent=_named_parent(stage.parent, named))

    def work() -> runs.Record:
        return _fuse(stage, inferred, merged, weights, optimized or "", judged, judged_digest, by, workers, named)

    return stage.run_once(force, work)


def _fuse(
    stage: Stage,
    inferred: Inferred,
    merged: Mapping[str, RankedLists],
    weights: Weights,
    optimized: str,
    judged: Judgments | None,
    judged_digest: str,
    by: By,
    workers: Workers,
    named: Named | None,
) -> runs.Record:
    experiment, lineup = stage.experiment, stage.parent.identity[runs.LINEUP]
    with stage.open() as opened:
        run = opened.run
        run.params({"optimize_run": optimized, **_infer_params(inferred)})
        opened.headline(weights_metrics(weights))
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "fused"
            segments = union_of_segments([lists.segments for lists in merged.values()])
            blocks = fuse_in_blocks(merged, weights=weights.weights, k=weights.k, cutoff=K, workers=workers)
            write_coded(blocks, segments, output)
            fused = open_submission(output)
            write_blocks(read_blocks(fused), None, output / "submission.csv")
            run.tags({runs.SUBMISSION: submission_digest(output / "submission.csv")})
            report = None
            if judged is not None:
                searches = runs.find_runs(experiment, lineup=lineup, stage="optimize")
                if search := _search_of(searches, weights, inferred, by, judged_digest):
                    log.info("ensemble %s: measured already by the search (run %s)", stage.name, search.run_id[:8])
                    report, tables = report_of(search), _tables_of(search)
                else:
                    report, tables = _measure(searches, weights, merged, judged, fused)
                report.write(output / "report.json")
                for name, table in tables.items():
                    table.write_parquet(output / name)
                opened.headline(ensemble_metrics(report))
                log_classes(run, tables[TABLES[0]])
                if named is None:
                    opened.parent.note(ensemble_note(experiment, lineup, report))
                run.dataset(f"{experiment} {stage.split} judgments", judged_digest, judged.pairs, stage.split)
            run.artifact(output)
            # Lists of another origin have no model.
            if all(CHECKPOINT in record.params for record in inferred.values()):
                scores = {} if report is None else ensemble_metrics(report)
                _register(run, stage, inferred, weights, by, scores, fused, judged)
        log.info("ensemble %s: %d members fused over %d classes", stage.name, len(merged), len(fused.classes))
    return opened.record()


def _register(
    run: Run,
    stage: Stage,
    inferred: Inferred,
    weights: Weights,
    by: By,
    scores: Mapping[str, float],
    fused: RankedLists,
    judged: Judgments | None,
) -> None:
    """Register the ensemble as a model, and decide if it is the best one of its name."""
    content = ensemble_digest(inferred, weights, by)
    run.tags({ENSEMBLE_DIGEST: content})
    identity = {key: value for key, value in stage.parent.identity.items() if key != runs.KIND}
    name = registered_name(*[identity[runs.DATASET], identity[runs.LINEUP], identity.get(runs.ENSEMBLE, "ensemble")])
    identity[runs.DATA_DIGEST] = stage.data_digest
    score = f"MAP@100K on the holdout {scores[metrics.map_of(metrics.ENSEMBLE)]:.4f}. " if scores else ""
    register_ensemble(
        run,
        name,
        identity=identity,
        inferred=inferred,
        weights=weights,
        by=by,
        scores=scores,
        content=content,
        note=f"{score}Fused by the source run. Loaded, it ranks the classes of each segment of the videos it is given.",
    )
    version = next((version for version in versions(name) if version.tags.get(ENSEMBLE_DIGEST) == content), None)
    if version is None or judged is None:
        return

    def lists_of(best: Version) -> RankedLists | None:
        same = {
            ENSEMBLE_DIGEST: best.tags.get(ENSEMBLE_DIGEST, ""),
            runs.STAGE: "fuse",
            runs.SPLIT: stage.split,
            runs.DATA_DIGEST: stage.data_digest,
        }
        fuses = runs.find_runs(stage.experiment, True, **same)
        return fused_lists(fuses[0]) if fuses else None

    settle_best(version, fused, judged, lists_of)


def _named_parent(parent: Parent, named: Named) -> Parent:
    """The parent run of a saved ensemble of the line-up whose own ensemble has the run `parent`."""
    return Parent(
        name=f"{parent.name}: {named.name}",
        identity={**parent.identity, runs.KIND: "named", runs.ENSEMBLE: named.name},
        tags={runs.AUTHOR: named.author, runs.REASON: named.reason},
        note=f"Saved by {named.author}: {named.reason}",
    )


def _newest_weights(experiment: str, lineup: str, optimized: str | None, by: By) -> tuple[str, Weights]:
    """Id and weights of the optimize run `optimized`, or of the newest of the line-up (of a final refit: the first)."""
    searched = runs.first_lineup(lineup)
    record = runs.get_run(optimized) if optimized else runs.find_run(experiment, lineup=searched, stage="optimize")
    merged_by = record.params.get("by", "rank")
    if merged_by != by:
        raise ValueError(
            f"the weights of the run {record.run_id} were searched on shifts merged by {merged_by}, not by {by}; fuse "
            f"with --by {merged_by}, or search them again with `python -m scoring tracked optimize --by {by}`"
        )
    return record.run_id, weights_of(record)


def _check_checkpoints(optimize: runs.Record, inferred: Inferred, split: str) -> None:
    """ValueError if a member predicted `split` with other weights than those by whose predictions it was weighted.

    Weights of a final refit that took its number of steps from those are allowed.
    """
    for member, record in inferred.items():
        searched = optimize.params.get(f"infer_run/{member}")
        if searched is None or searched == record.run_id:
            continue
        then, now = runs.get_run(searched).params.get(CHECKPOINT), record.params.get(CHECKPOINT)
        if then and now and then != now and not _is_refit(now, then):
            raise ValueError(
                f"the weights of the run {optimize.run_id} were found with the checkpoint of {member}'s run {then}, "
                f"but its {split} split was predicted with that of {now}; predict both splits with the same one "
                "(`python -m training infer`) and search the weights again (`python -m scoring tracked optimize`)"
            )


def _is_refit(checkpoint: str, first: str) -> bool:
    """Whether the run `checkpoint` is a final refit that took its number of steps from the run `first`.

    It is none if it was removed for good.
    """
    try:
        return first in runs.get_run(checkpoint).upstream
    except ValueError:
        return False


def _search_of(
    searches: Sequence[runs.Record], weights: Weights, inferred: Inferred, by: By, judged: str
) -> runs.Record | None:
    """The optimize run that chose these weights for these infer runs and this digest of judgments, if there is one."""
    for run in searches:
        settings = SearchSettings(
            trials=int(run.params["trials"]),
            seed=int(run.params["seed"]),
            polish=int(run.params["polish"]),
            shrink=float(run.params["shrinkage"]),
        )
        is_same = run.tags[runs.CONFIG_DIGEST] == _optimize_digest(by, inferred, judged, settings)
        # Earlier versions logged fewer tables.
        if is_same and _has(run, weights) and all(run.has_artifact(name) for name in TABLES):
            return run
    return None


def _measure(
    searches: Sequence[runs.Record],
    weights: Weights,
    merged: Mapping[str, RankedLists],
    judgments: Judgments,
    fused: RankedLists,
) -> tuple[Report, dict[str, pl.DataFrame]]:
    """The report on an ensemble, and its tables by the names of their files.

    Weights count as searched on these judgments, perhaps with earlier predictions, if their file has the same MAP or
    one of `searches` (the line-up's optimize runs) has the same weights and judgments.
    """
    objective, measured, searched = Objective.of(merged, judgments), weights.objective, None
    if measured is not None and (
        abs(objective.map(weights.weights, weights.k) - measured.map) <= 1e-12
        or any(_has(run, weights) and _judgments_of(run).equals(judgments.pairs) for run in searches)
    ):
        searched = SearchSettings(seed=measured.seed, shrink=measured.shrink)
    blocks = parts(fused)
    report, per_class, ranks = measure(
        objective, merged, judgments, blocks, weights=weights.weights, k=weights.k, searched=searched
    )
    tables = (per_class, judged_pairs(objective, ranks), similarity(merged))
    return report, dict(zip(TABLES, tables, strict=True))


def _tables_of(optimize: runs.Record) -> dict[str, pl.DataFrame]:
    return {name: optimize.table(name) for name in TABLES}


def _has(optimize: runs.Record, weights: Weights) -> bool:
    return weights_metrics(weights).items() <= optimize.metrics.items()


def _judgments_of(optimize: runs.Record) -> pl.DataFrame:
    return optimize.table("judgments.parquet")


def weights_of(optimize: runs.Record) -> Weights:
    """The weights that an optimize run has chosen."""
    with optimize.reading("weights.json") as (path,):
        return read_weights(path)


def report_of(record: runs.Record) -> Report:
    """The report of an optimize run, or of a fuse run that had judgments."""
    with record.reading("report.json") as (path,):
        return read_report(path)


def fused_lists(record: runs.Record) -> RankedLists:
    """The coded lists of a fuse run, opened."""
    with record.reading("lists.parquet", "segments.parquet") as (path, _):  # a server hands out one file at a time
        return open_submission(path)


def _predicted(judgments: Judgments, merged: Mapping[str, RankedLists]) -> Judgments:
    """The judgments of the segments that the members list."""
    return judgments.within(union_of_segments([lists.segments for lists in merged.values()]))


def _inferred(experiment: str, lineup: str, split: str, members: Members) -> dict[str, runs.Record]:
    """The infer run of each member, by name; ValueError if they predicted different data."""
    if isinstance(members, Mapping):
        inferred = {member: _infer_run(members[member], member, split) for member in sorted(members)}
    else:
        inferred = {
            member: runs.find_run(experiment, lineup=lineup, member=member, stage="infer", split=split)
            for member in sorted(members)
        }
    if not inferred:
        raise ValueError(f"the line-up {lineup} has no members to merge; name at least one")
    digests = {member: record.tags.get(runs.DATA_DIGEST, "") for member, record in inferred.items()}
    if len(set(digests.values())) > 1:
        raise ValueError(
            f"the members predicted different data ({digests}); run infer again for the members with older data"
        )
    return inferred


def _infer_run(run_id: str, member: str, split: str) -> runs.Record:
    record = runs.get_run(run_id)
    expected = {runs.MEMBER: member, runs.STAGE: "infer", runs.SPLIT: split}
    if record.status != "FINISHED" or not expected.items() <= record.tags.items():
        raise ValueError(f"the run {run_id} is no finished infer run of {member} on the {split} split; name one")
    return record


def _ids(inferred: Inferred) -> dict[str, str]:
    return {member: record.run_id for member, record in inferred.items()}


def _infer_params(inferred: Inferred) -> dict[str, str]:
    return {f"infer_run/{member}": record.run_id for member, record in inferred.items()}


def _judgments_digest(judgments: Judgments) -> str:
    return hashlib.sha256(judgments.pairs.write_csv().encode()).hexdigest()[:36]


def _stage(experiment: str, lineup: str, name: str, content: str, inferred: Inferred, split: str = "") -> Stage:
    """A stage of the line-up's ensemble."""
    return Stage(
        experiment=experiment,
        parent=Parent(
            name=f"ensemble {lineup}",
            identity={runs.DATASET: experiment, runs.LINEUP: lineup, runs.KIND: "ensemble"},
            tags={},
        ),
        stage=name,
        digest=content,
        data_digest=next(iter(inferred.values())).tags.get(runs.DATA_DIGEST, ""),
        split=split,
    )
