"""The stages of an ensemble as tracked runs: merge each member's shifts, search the weights, fuse.

All are children of one run, the line-up's ensemble. A stage is identified by a digest over everything its result
depends on; a finished run with that digest is found and returned instead of doing it again.
"""

import hashlib
import itertools
import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import polars as pl

from scoring.average_precision import evaluate_ranks, ranks_of_blocks
from scoring.coding import union_of_segments
from scoring.figures import search_figure, sensitivity_figure
from scoring.fusion import MEMBER_K, By, fuse_blocks, merge_blocks
from scoring.judgments import last_of_pairs
from scoring.objective import Objective
from scoring.ranked import RankedLists, parts, read_blocks
from scoring.resampling import (
    bootstrap_interval,
    cross_validated_map,
    leave_one_out,
    paired_difference,
    sensitivity,
)
from scoring.search import Search, Trial, search
from scoring.submission import open_submission, open_submissions, write_blocks, write_coded
from scoring.trial_log import TrialLog
from scoring.weights import Weights, read_weights, weigh
from tracking import runs
from tracking.store import local_folder
from tracking.writing import Run, open_parent, open_run

log = logging.getLogger(__name__)

Value = TypeVar("Value")
# Members of a line-up: by name, each with its newest infer run of the split, or each with the id of its infer run.
Members = Sequence[str] | Mapping[str, str]

FILES = "files"  # the experiment of what was scored from plain files
PUBLISHED = "published"  # the experiment of the original's own search


def predicted_members(experiment: str, lineup: str, split: str) -> list[str]:
    """The members of a line-up that have predicted a split; ValueError with the remedy when none has."""
    found = runs.find_runs(experiment, lineup=lineup, stage="infer", split=split)
    if not found:
        raise ValueError(
            f"no member of the line-up {lineup} has predicted the {split} split of {experiment}; "
            f"run `python -m training run --lineup {lineup}` first"
        )
    return sorted({run.tags[runs.MEMBER] for run in found})


def merge_members(
    experiment: str, lineup: str, split: str, members: Members, by: By = "rank", force: bool = False
) -> dict[str, RankedLists]:
    """Merge the shifts of each member on a split; the merged lists, opened, by member."""
    inferred = _inferred(experiment, lineup, split, members)
    if not force and (found := _finished(experiment, lineup, "merge", _merge_digest(split, by, inferred))):
        _say_done(found)
    return _merged(experiment, lineup, split, inferred, by, force)


def _merged(
    experiment: str, lineup: str, split: str, inferred: Mapping[str, runs.Record], by: By, force: bool = False
) -> dict[str, RankedLists]:
    digest = _merge_digest(split, by, inferred)
    found = None if force else _finished(experiment, lineup, "merge", digest)
    if found is None:
        name = f"merge {split}"
        with _stage(experiment, lineup, name, _tags("merge", digest, inferred, split)) as (run, _):
            run.params({"members": ", ".join(inferred), "by": by, **_prefixed("infer_run", _ids(inferred))})
            with tempfile.TemporaryDirectory() as folder:
                for member, record in inferred.items():
                    shifts = _shifts(record)
                    sources = list(open_submissions(shifts).values())
                    segments = union_of_segments([source.segments for source in sources])
                    write_coded(merge_blocks(sources, by), segments, Path(folder) / member)
                    run.metrics({f"{member}/shifts": len(shifts)})
                    log.info("%s %s: %d shifts merged", member, name, len(shifts))
                run.artifact(Path(folder))
        found = runs.get_run(run.run_id)
    return open_submissions([found.artifact(member) for member in inferred])


def _merge_digest(split: str, by: By, inferred: Mapping[str, runs.Record]) -> str:
    return _digest("merge", split, by, _ids(inferred))


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
) -> runs.Record:
    """Search weights and k for the merged members on the holdout; the run that did, with weights.json.

    Judgments of segments that are not in the holdout are left out. Each member's own MAP goes to its parent run.
    """
    inferred = _inferred(experiment, lineup, "holdout", members)
    merged = _merged(experiment, lineup, "holdout", inferred, by)
    judgments = _judged_here(merged, judgments)
    digest = _digest("optimize", by, _ids(inferred), _digest_of(judgments), trials, seed, polish, MEMBER_K)
    if not force and (found := _finished(experiment, lineup, "optimize", digest)):
        _say_done(found)
        return found
    with _stage(experiment, lineup, "optimize", _tags("optimize", digest, inferred)) as (run, _):
        run.params({"members": ", ".join(inferred), "trials": trials, "seed": seed, "polish": polish})
        run.params(_prefixed("infer_run", _ids(inferred)))
        run.dataset(f"{experiment} holdout judgments", _digest_of(judgments), judgments, "holdout")
        objective = Objective.of(merged, judgments)
        kept = TrialLog(local_folder() / "searches" / f"{digest}.jsonl", objective, seed)
        found = search(objective, trials, seed, polish, _reporter(run, kept), kept.known)
        curves = sensitivity(objective, found.weights, found.k)
        if curves:
            run.figure(sensitivity_figure(curves, found.map), "sensitivity.png")
        weights, per_class = weigh(found, merged, judgments, trials, seed, runs=_ids(inferred))
        _log_found(run, found, weights)
        with tempfile.TemporaryDirectory() as folder:
            per_class.write_parquet(Path(folder) / "per_class.parquet")
            judgments.write_parquet(Path(folder) / "judgments.parquet")  # with the merged lists, all that MAP needs
            run.artifact(Path(folder))
    kept.done()
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


def _reporter(run: Run, kept: TrialLog) -> Callable[[Trial], None]:
    """Logs each trial of a search at its own step, and keeps it for the case that the search is stopped."""
    steps, best = itertools.count(), 0.0

    def report(trial: Trial) -> None:
        nonlocal best
        kept(trial)
        best = max(best, trial.map)
        run.metrics(_progress(trial.map, best, trial.seconds), next(steps))

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
) -> runs.Record:
    """Fuse the merged members of a split; logs coded lists and a Kaggle CSV.

    The weights are those of the optimize run `optimized`, or of the line-up's newest.

    With judgments (the holdout's) it also measures the ensemble: MAP with its interval over videos, MAP of weights
    fitted on other videos than they are scored on, and the same of equal weights and of the best member. The ensemble's
    own run gets these too.
    """
    inferred = _inferred(experiment, lineup, split, members)
    if optimized is None:
        optimized = runs.find_run(experiment, lineup=lineup, stage="optimize").run_id
    weights = read_weights(runs.get_run(optimized).artifact("weights.json"))
    merged = _merged(experiment, lineup, split, inferred, by)
    judged = None if judgments is None else _judged_here(merged, judgments)
    digest = _digest("fuse", split, by, _ids(inferred), optimized, "" if judged is None else _digest_of(judged))
    if not force and (found := _finished(experiment, lineup, "fuse", digest)):
        _say_done(found)
        return found
    with _stage(experiment, lineup, f"fuse {split}", _tags("fuse", digest, inferred, split)) as (run, parent):
        run.params({"optimize_run": optimized, **_prefixed("infer_run", _ids(inferred))})
        shares = {**_prefixed("weight", weights.weights), "k": weights.k}
        run.metrics(shares)
        parent.metrics(shares)
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "fused"
            segments = union_of_segments([lists.segments for lists in merged.values()])
            write_coded(fuse_blocks(merged, weights.weights, weights.k), segments, place)
            fused = open_submission(place)
            write_blocks(read_blocks(fused), None, place / "submission.csv")
            if judged is not None:
                measured, per_class = _measure(merged, fused, judged, weights)
                per_class.write_parquet(place / "per_class.parquet")
                run.metrics(measured)
                parent.metrics(measured)
                parent.note(_note(weights, measured))
                run.dataset(f"{experiment} {split} judgments", _digest_of(judged), judged, split)
            run.artifact(place)
        log.info("ensemble fuse %s: %d members fused over %d classes", split, len(merged), len(fused.classes))
    return runs.get_run(run.run_id)


def log_files(
    name: str, stage: str, params: Mapping[str, object], metrics: Mapping[str, float], files: Sequence[Path]
) -> None:
    """Log what a command did to plain files, as a run of its own; only `--log` asks for it."""
    with open_run(FILES, name, {runs.STAGE: stage}) as run:
        run.params(params)
        run.metrics(metrics)
        for file in files:
            run.artifact(file, file.name if file.is_dir() else "")
    log.info("logged as the run %s of the experiment %s", run.run_id, FILES)


def log_search(name: str, params: Mapping[str, object], found: Search, weights: Weights) -> None:
    """Log a search over plain files as `optimize_members` logs one."""
    with open_run(FILES, name, {runs.STAGE: "optimize"}) as run:
        run.params(params)
        for step, trial in enumerate(found.trials.iter_rows(named=True)):
            run.metrics(_progress(trial["map"], trial["best"], trial["seconds"]), step)
        _log_found(run, found, weights)
    log.info("logged as the run %s of the experiment %s", run.run_id, FILES)


def log_published(path: Path, trials: pl.DataFrame) -> runs.Record:
    """Log the original's published weight search as a reference run; one that is there already is returned."""
    digest = _digest("published", trials.write_csv())
    if found := runs.find_runs(PUBLISHED, stage="optimize", config_digest=digest):
        log.info("the published search is there already (run %s)", found[0].run_id[:8])
        return found[0]
    tags = {runs.STAGE: "optimize", runs.CONFIG_DIGEST: digest}
    note = "The original system's own search for weights, as published. A reference: nothing here was computed anew."
    with open_run(PUBLISHED, "published weight search", tags, note=note) as run:
        best = trials.sort("map", descending=True, maintain_order=True).row(0, named=True)
        run.params({"file": path.name, "evaluations": trials.height, "best_evaluation": best["trial"] + 1})
        for trial in trials.iter_rows(named=True):
            run.metrics(_progress(trial["map"], trial["best"], trial["seconds"]), trial["trial"])
        run.metrics({name: value for name, value in best.items() if name == "k" or name.startswith("weight/")})
        run.figure(search_figure(trials, {}), "search.png")
        with tempfile.TemporaryDirectory() as folder:
            trials.write_parquet(Path(folder) / "trials.parquet")
            run.artifact(Path(folder))
    return runs.get_run(run.run_id)


def _progress(value: float, best: float, seconds: float) -> dict[str, float]:
    return {"map_at_100k": value, "best_map_at_100k": best, "trial_seconds": seconds}


def _log_found(run: Run, found: Search, weights: Weights) -> None:
    run.metrics({**_prefixed("weight", weights.weights), "k": weights.k})
    run.metrics({"equal_weights/map_at_100k": found.equal_weights})
    run.metrics({f"{member}/map_at_100k": value for member, value in found.members.items()})
    if weights.interval:
        run.metrics({"low": weights.interval[0], "high": weights.interval[1]})
    baselines = {"equal weights": found.equal_weights, "best member": found.members[found.best_member]}
    run.figure(search_figure(found.trials, baselines), "search.png")
    with tempfile.TemporaryDirectory() as folder:
        weights.write(Path(folder) / "weights.json")
        found.trials.write_parquet(Path(folder) / "trials.parquet")
        run.artifact(Path(folder))


def _measure(
    merged: Mapping[str, RankedLists], fused: RankedLists, judgments: pl.DataFrame, weights: Weights
) -> tuple[dict[str, float], pl.DataFrame]:
    """What the ensemble is worth on judgments that its weights were chosen on, and its AP per class."""
    ranks, present = ranks_of_blocks(parts(fused), judgments)
    evaluation = evaluate_ranks(ranks, judgments, present)
    low, high = bootstrap_interval(ranks, judgments)
    objective = Objective.of(merged, judgments)
    alone = {m: objective.map({name: float(name == m) for name in merged}, MEMBER_K) for m in sorted(merged)}
    best_member = max(alone, key=lambda member: alone[member])
    best_ranks, _ = ranks_of_blocks(parts(merged[best_member]), judgments)
    better = paired_difference(ranks, best_ranks, judgments)
    gains = leave_one_out(objective, weights.weights, weights.k)
    measured = {
        "ensemble/map_at_100k": evaluation.map,
        "ensemble/low": low,
        "ensemble/high": high,
        "equal_weights/map_at_100k": objective.map(None, MEMBER_K),
        "best_member/map_at_100k": alone[best_member],
        "ensemble/gain_over_best_member": better.map,
        "ensemble/gain_over_best_member_low": better.low,
        "ensemble/gain_over_best_member_high": better.high,
        **_prefixed("leave_one_out", gains),
    }
    try:
        validated = cross_validated_map(objective)
    except ValueError as error:
        log.warning("the cross-validated MAP is left out: %s", error)
    else:
        measured |= {
            "ensemble/cross_validated_map": validated.fitted,
            "shrunk_weights/cross_validated_map": validated.shrunk,
            "equal_weights/cross_validated_map": validated.equal_weights,
            "best_member/cross_validated_map": validated.best_member,
        }
    return measured, evaluation.per_class


def _note(weights: Weights, measured: Mapping[str, float]) -> str:
    """What a reader of the MLflow UI finds on the ensemble's run."""
    shares = sorted(weights.weights.items(), key=lambda item: -item[1])
    validated = measured.get("ensemble/cross_validated_map")
    lines = [
        f"**MAP@100K {measured['ensemble/map_at_100k']:.4f}** on the holdout, 95 % interval over its videos "
        f"{measured['ensemble/low']:.4f} to {measured['ensemble/high']:.4f}. The weights were chosen on the same "
        "holdout, so this is optimistic"
        + (f"; fitted on half of the videos and scored on the other half it is {validated:.4f}." if validated else "."),
        "",
        f"Equal weights {measured['equal_weights/map_at_100k']:.4f}, "
        f"best member alone {measured['best_member/map_at_100k']:.4f}; k is {weights.k:.4g}.",
        "",
        f"On the same draws of the videos the ensemble is above the best member by "
        f"{measured['ensemble/gain_over_best_member_low']:.4f} to "
        f"{measured['ensemble/gain_over_best_member_high']:.4f} (95 %).",
        "",
        *_doubts(measured),
        "| member | weight |",
        "|---|---|",
        *(f"| {member} | {share:.3f} |" for member, share in shares),
    ]
    return "\n".join(lines)


def _doubts(measured: Mapping[str, float]) -> list[str]:
    """What speaks against the weights, where something does."""
    lines = []
    fitted, equal = (measured.get(f"{of}/cross_validated_map", 0.0) for of in ("ensemble", "equal_weights"))
    if fitted <= equal and "ensemble/cross_validated_map" in measured:
        shrunk = measured["shrunk_weights/cross_validated_map"]
        lines += [
            f"**On videos that they were not fitted on the weights do not beat equal ones** ({fitted:.4f}, equal "
            f"{equal:.4f}). Shrunk half-way toward equal weights they score {shrunk:.4f} there.",
            "",
        ]
    gains = {name.partition("/")[2]: gain for name, gain in measured.items() if name.startswith("leave_one_out/")}
    if unneeded := sorted(member for member, gain in gains.items() if gain <= 0):
        lines += [f"Without loss on this holdout can be left out, one at a time: {', '.join(unneeded)}.", ""]
    return lines


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


def _prefixed(prefix: str, values: Mapping[str, Value]) -> dict[str, Value]:
    return {f"{prefix}/{name}": value for name, value in values.items()}


def _digest(*content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _digest_of(judgments: pl.DataFrame) -> str:
    return hashlib.sha256(judgments.write_csv().encode()).hexdigest()[:36]


def _tags(stage: str, digest: str, inferred: Mapping[str, runs.Record], split: str = "") -> dict[str, str]:
    data = next(iter(inferred.values())).tags.get(runs.DATA_DIGEST, "")
    tags = {runs.STAGE: stage, runs.CONFIG_DIGEST: digest, runs.DATA_DIGEST: data, runs.SPLIT: split}
    return {key: value for key, value in tags.items() if value}


def _finished(experiment: str, lineup: str, stage: str, digest: str) -> runs.Record | None:
    found = runs.find_runs(experiment, lineup=lineup, stage=stage, config_digest=digest)
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
