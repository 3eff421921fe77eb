"""The stages of an ensemble as tracked runs: merge each member's shifts, search the weights, fuse.

All are children of one run, the line-up's ensemble. A stage is identified by a digest over everything its result
depends on; a finished run with that digest is found and returned instead of doing it again.
"""

import hashlib
import itertools
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import polars as pl

from scoring.fusion.fusion import MEMBER_K, By
from scoring.fusion.workers import HERE, Workers, fuse_in_blocks, merge_in_blocks
from scoring.lists.ids import union_of_segments
from scoring.lists.opening import open_submission, open_submissions
from scoring.lists.ranked import K, RankedLists, parts, read_blocks
from scoring.lists.writing import write_blocks, write_coded
from scoring.tracked.logs import digest, ensemble_metrics, ensemble_note, log_outcome, prefixed, progress
from scoring.weights.find import check_shrinkage, measure, search_and_measure
from scoring.weights.objective import Objective
from scoring.weights.report import CONTENT, Report, read_report
from scoring.weights.trials import Trial
from scoring.weights.weights_json import Weights, read_weights
from terminal.cli import counted
from tracking import runs
from tracking.store import local_folder
from tracking.writing import Run, open_parent, open_run
from videos.judgments import last_of_pairs

log = logging.getLogger(__name__)

# Members of a line-up: by name, each with its newest infer run of the split, or each with the id of its infer run.
Members = Sequence[str] | Mapping[str, str]


def predicted_members(experiment: str, lineup: str, split: str) -> list[str]:
    """The members of a line-up that have predicted a split; ValueError with the remedy when none has."""
    found = runs.find_runs(experiment, lineup=lineup, stage="infer", split=split)
    if not found:
        raise ValueError(
            f"no member of the line-up {lineup} has predicted the {split} split of {experiment}; "
            f"run `python -m training run --lineup {lineup} --data DIR` first"
        )
    return sorted({run.tags[runs.MEMBER] for run in found})


def merge_members(
    experiment: str,
    lineup: str,
    split: str,
    members: Members,
    by: By = "rank",
    force: bool = False,
    workers: Workers = HERE,
) -> dict[str, Path]:
    """Merge the shifts of each member on a split; where each member's merged lists are."""
    inferred = _inferred(experiment, lineup, split, members)
    if not force and (found := _finished(experiment, lineup, "merge", _merge_digest(split, by, inferred))):
        _say_done(found)
    return _merged(experiment, lineup, split, inferred, by, force, workers)


def _merged(
    experiment: str,
    lineup: str,
    split: str,
    inferred: Mapping[str, runs.Record],
    by: By,
    force: bool = False,
    workers: Workers = HERE,
) -> dict[str, Path]:
    content = _merge_digest(split, by, inferred)
    found = None if force else _finished(experiment, lineup, "merge", content)
    if found is None:
        name = f"merge {split}"
        with _stage(experiment, lineup, name, _tags("merge", content, inferred, split)) as (run, _):
            run.params({"members": ", ".join(inferred), "by": by, **prefixed("infer_run", _ids(inferred))})
            with tempfile.TemporaryDirectory() as folder:
                for member, record in inferred.items():
                    shifts = _shifts(record)
                    segments = union_of_segments([source.segments for source in open_submissions(shifts).values()])
                    write_coded(merge_in_blocks(shifts, by, workers), segments, Path(folder) / member)
                    run.metrics({f"{member}/shifts": len(shifts)})
                    log.info("%s %s: %s merged", member, name, counted(len(shifts), "shift"))
                run.artifact(Path(folder))
        found = runs.get_run(run.run_id)
    return {member: found.artifact(member) for member in inferred}


def _merge_digest(split: str, by: By, inferred: Mapping[str, runs.Record]) -> str:
    return digest("merge", split, by, _ids(inferred))


def optimize_members(
    experiment: str,
    lineup: str,
    members: Members,
    judgments: pl.DataFrame,
    trials: int = 60,
    seed: int = 0,
    polish: int = 0,
    by: By = "rank",
    force: bool = False,
    shrinkage: float = 0.0,
) -> runs.Record:
    """Search weights and k for the merged members on the holdout; the run that did, with weights.json.

    The weights are drawn toward equal ones by `shrinkage` (0, 0.5 or 1). Judgments of segments that are not in the
    holdout are left out. Each member's own MAP goes to its parent run.
    """
    check_shrinkage(shrinkage)
    inferred = _inferred(experiment, lineup, "holdout", members)
    merged = open_submissions(list(_merged(experiment, lineup, "holdout", inferred, by).values()))
    judgments = _judged_here(merged, judgments)
    judged = _digest_of(judgments)
    content = digest("optimize", by, _ids(inferred), judged, trials, seed, polish, shrinkage, MEMBER_K, CONTENT)
    if not force and (found := _finished(experiment, lineup, "optimize", content)):
        _say_done(found)
        return found
    with _stage(experiment, lineup, "optimize", _tags("optimize", content, inferred)) as (run, _):
        run.params({"members": ", ".join(inferred), "by": by})
        run.params({"trials": trials, "seed": seed, "polish": polish, "shrinkage": shrinkage})
        run.params(prefixed("infer_run", _ids(inferred)))
        run.dataset(f"{experiment} holdout judgments", judged, judgments, "holdout")
        unfinished = local_folder() / "searches" / f"{content}.jsonl"
        outcome = search_and_measure(
            merged, judgments, unfinished, trials, seed, polish, shrinkage, report=_reporter(run)
        )
        found, report = outcome.search, outcome.report
        log_outcome(run, outcome, report.weights_file(found.trials.height, _ids(inferred)))
        run.note(ensemble_note(experiment, lineup, report))
        with tempfile.TemporaryDirectory() as folder:
            judgments.write_parquet(Path(folder) / "judgments.parquet")  # with the merged lists, all that MAP needs
            run.artifact(Path(folder))
    outcome.kept.done()
    for member, record in inferred.items():
        if record.parent:
            parent = Run(record.parent)
            parent.metrics({"merged/map_at_100k": found.members[member]})
            parent.flush()
    log.info(
        "ensemble optimize: MAP %.4f after %d trials; equal weights %.4f, best member %.4f",
        *(found.map, found.trials.height, found.equal_weights, found.members[found.best_member]),
    )
    return runs.get_run(run.run_id)


def _reporter(run: Run) -> Callable[[Trial], None]:
    """Logs each trial of a search at its own step."""
    steps, best = itertools.count(), 0.0

    def report(trial: Trial) -> None:
        nonlocal best
        best = max(best, trial.map)
        run.metrics(progress(trial.map, best, trial.seconds), next(steps))

    return report


def fuse_members(
    experiment: str,
    lineup: str,
    split: str,
    members: Members,
    judgments: pl.DataFrame | None = None,
    by: By = "rank",
    force: bool = False,
    optimized: str | None = None,
    weights: Weights | None = None,
    k: float | None = None,
    workers: Workers = HERE,
) -> runs.Record:
    """Fuse the merged members of a split; logs coded lists and a Kaggle CSV.

    The weights are those given, those of the optimize run `optimized`, or those of the line-up's newest; `k` overrides
    theirs.

    With judgments (the holdout's) it also measures the ensemble: MAP with its interval over videos, MAP of weights
    fitted on other videos than they are scored on, and the same of equal weights and of the best member. The ensemble's
    own run gets these too.
    """
    inferred = _inferred(experiment, lineup, split, members)
    if weights is None:
        optimized, weights = _found_weights(experiment, lineup, optimized, by)
    weights = weights if k is None else replace(weights, k=k)
    paths = _merged(experiment, lineup, split, inferred, by, workers=workers)
    merged = open_submissions(list(paths.values()))
    judged = None if judgments is None else _judged_here(merged, judgments)
    judged_digest = "" if judged is None else _digest_of(judged)
    voting = (optimized, weights.k, weights.weights)
    content = digest("fuse", split, by, _ids(inferred), voting, judged_digest, CONTENT if judged_digest else None)
    if not force and (found := _finished(experiment, lineup, "fuse", content)):
        _say_done(found)
        return found
    with _stage(experiment, lineup, f"fuse {split}", _tags("fuse", content, inferred, split)) as (run, parent):
        run.params({"optimize_run": optimized or "", **prefixed("infer_run", _ids(inferred))})
        shares = {**prefixed("weight", weights.weights), "k": weights.k}
        run.metrics(shares)
        parent.metrics(shares)
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "fused"
            segments = union_of_segments([lists.segments for lists in merged.values()])
            blocks = fuse_in_blocks(list(paths.values()), None, weights.weights, weights.k, K, workers)
            write_coded(blocks, segments, place)
            fused = open_submission(place)
            write_blocks(read_blocks(fused), None, place / "submission.csv")
            if judged is not None:
                searched = weights.objective
                drawn, seed = (searched.shrink, searched.seed) if searched else (0.0, 0)
                objective = Objective.of(merged, judged)
                report, per_class = measure(
                    objective, merged, judged, parts(fused), weights.weights, weights.k, drawn, seed
                )
                report.write(place / "report.json")
                per_class.write_parquet(place / "per_class.parquet")
                measured = ensemble_metrics(report)
                run.metrics(measured)
                parent.metrics(measured)
                parent.note(ensemble_note(experiment, lineup, report))
                run.dataset(f"{experiment} {split} judgments", judged_digest, judged, split)
            run.artifact(place)
        log.info("ensemble fuse %s: %d members fused over %d classes", split, len(merged), len(fused.classes))
    return runs.get_run(run.run_id)


def _found_weights(experiment: str, lineup: str, optimized: str | None, by: By) -> tuple[str, Weights]:
    """The weights of an optimize run, or of the line-up's newest, and its id."""
    found = runs.get_run(optimized) if optimized else runs.find_run(experiment, lineup=lineup, stage="optimize")
    merged_by = found.params.get("by", "rank")
    if merged_by != by:
        raise ValueError(
            f"the weights of the run {found.run_id} were found on shifts merged by {merged_by}, not by {by}; fuse with "
            f"--by {merged_by}, or search them again with `python -m scoring optimize --by {by}`"
        )
    return found.run_id, read_weights(found.artifact("weights.json"))


def report_of(record: runs.Record) -> Report:
    """The report of an optimize run, or of a fuse run that had judgments."""
    return read_report(record.artifact("report.json"))


def _judged_here(merged: Mapping[str, RankedLists], judgments: pl.DataFrame) -> pl.DataFrame:
    """The judgments of segments that were predicted; those of other splits are left out."""
    segments = union_of_segments([lists.segments for lists in merged.values()]).to_frame()
    here = last_of_pairs(judgments).join(segments, on="segment_id", how="semi").sort("class_id", "segment_id")
    if here.is_empty():
        raise ValueError("no judged segment was predicted; give the judgments of the split that was predicted")
    return here


def _inferred(experiment: str, lineup: str, split: str, members: Members) -> dict[str, runs.Record]:
    """The infer run of each member, by name; ValueError when they saw different data."""
    if isinstance(members, Mapping):
        found = {member: _infer_run(members[member], member, split) for member in sorted(members)}
    else:
        found = {
            member: runs.find_run(experiment, lineup=lineup, member=member, stage="infer", split=split)
            for member in sorted(members)
        }
    if not found:
        raise ValueError(f"the line-up {lineup} has no members to merge; name at least one")
    digests = {member: record.tags.get(runs.DATA_DIGEST, "") for member, record in found.items()}
    if len(set(digests.values())) > 1:
        raise ValueError(f"the members predicted different data ({digests}); run infer again for those left behind")
    return found


def _infer_run(run_id: str, member: str, split: str) -> runs.Record:
    record = runs.get_run(run_id)
    expected = {runs.MEMBER: member, runs.STAGE: "infer", runs.SPLIT: split}
    if record.status != "FINISHED" or not expected.items() <= record.tags.items():
        raise ValueError(f"the run {run_id} is no finished infer run of {member} on the {split} split; name one")
    return record


def _shifts(record: runs.Record) -> list[Path]:
    """The predictions of an infer run, one file a shift, from the most negative shift on."""
    files = record.artifact("predictions").glob("shift*.parquet")
    return sorted(files, key=lambda file: int(file.stem.removeprefix("shift")))


def _ids(inferred: Mapping[str, runs.Record]) -> dict[str, str]:
    return {member: record.run_id for member, record in inferred.items()}


def _digest_of(judgments: pl.DataFrame) -> str:
    return hashlib.sha256(judgments.write_csv().encode()).hexdigest()[:36]


def _tags(stage: str, content: str, inferred: Mapping[str, runs.Record], split: str = "") -> dict[str, str]:
    data = next(iter(inferred.values())).tags.get(runs.DATA_DIGEST, "")
    tags = {runs.STAGE: stage, runs.CONFIG_DIGEST: content, runs.DATA_DIGEST: data, runs.SPLIT: split}
    return {key: value for key, value in tags.items() if value}


def _finished(experiment: str, lineup: str, stage: str, content: str) -> runs.Record | None:
    found = runs.find_runs(experiment, lineup=lineup, stage=stage, config_digest=content)
    return found[0] if found else None


def _say_done(found: runs.Record) -> None:
    log.info("ensemble %s: done already (run %s)", found.name, found.run_id[:8])


@contextmanager
def _stage(experiment: str, lineup: str, name: str, tags: Mapping[str, str]) -> Iterator[tuple[Run, Run]]:
    """A stage's run under the line-up's ensemble, and that parent."""
    identity = {runs.DATASET: experiment, runs.LINEUP: lineup, runs.KIND: "ensemble"}
    with (
        open_parent(experiment, f"ensemble {lineup}", identity) as parent,
        open_run(experiment, name, tags, parent=parent.run_id) as run,
    ):
        yield run, parent
