"""What is logged of a search for weights, of an ensemble, and of what a command did to plain files."""

import hashlib
import json
import logging
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import polars as pl

from scoring.tracked.figures import search_figure, sensitivity_figure
from scoring.weights.cross_validation import sensitivity
from scoring.weights.find import Outcome
from scoring.weights.report import Report, ranging
from scoring.weights.weights_json import Weights
from tracking import runs
from tracking.writing import Run, open_run

log = logging.getLogger(__name__)

Value = TypeVar("Value")

FILES = "files"  # the experiment of what was scored from plain files
PUBLISHED = "published"  # the experiment of the original's own search


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


def log_search(name: str, params: Mapping[str, object], outcome: Outcome, weights: Weights) -> None:
    """Log a search over plain files as `optimize_members` logs one."""
    with open_run(FILES, name, {runs.STAGE: "optimize"}) as run:
        run.params(params)
        for step, trial in enumerate(outcome.search.trials.iter_rows(named=True)):
            run.metrics(progress(trial["map"], trial["best"], trial["seconds"]), step)
        log_outcome(run, outcome, weights)
    log.info("logged as the run %s of the experiment %s", run.run_id, FILES)


def log_outcome(run: Run, outcome: Outcome, weights: Weights) -> None:
    """Log what a search found: shares and baselines as metrics, two pictures, weights, trials, report, AP per class."""
    found, report = outcome.search, outcome.report
    run.metrics({**prefixed("weight", weights.weights), "k": weights.k})
    run.metrics({"equal_weights/map_at_100k": found.equal_weights})
    run.metrics({f"{member}/map_at_100k": value for member, value in found.members.items()})
    run.metrics({"low": report.interval[0], "high": report.interval[1]})
    for name, (low, high) in {"equal_weights": report.equal_weights_interval, **report.intervals}.items():
        run.metrics({f"{name}/low": low, f"{name}/high": high})
    baselines = {"equal weights": found.equal_weights, "best member": found.members[found.best_member]}
    run.figure(search_figure(found.trials, baselines), "search.png")
    if curves := sensitivity(outcome.objective, found.weights, found.k):
        run.figure(sensitivity_figure(curves, found.map), "sensitivity.png")
    with tempfile.TemporaryDirectory() as folder:
        weights.write(Path(folder) / "weights.json")
        report.write(Path(folder) / "report.json")
        found.trials.write_parquet(Path(folder) / "trials.parquet")
        outcome.per_class.write_parquet(Path(folder) / "per_class.parquet")
        run.artifact(Path(folder))


def log_published(path: Path, trials: pl.DataFrame) -> runs.Record:
    """Log the original's published weight search as a reference run; one that is there already is returned."""
    content = digest("published", trials.write_csv())
    if found := runs.find_runs(PUBLISHED, stage="optimize", config_digest=content):
        log.info("the published search is there already (run %s)", found[0].run_id[:8])
        return found[0]
    tags = {runs.STAGE: "optimize", runs.CONFIG_DIGEST: content}
    note = "The original system's own search for weights, as published. A reference: nothing here was computed anew."
    with open_run(PUBLISHED, "published weight search", tags, note=note) as run:
        best = trials.sort("map", descending=True, maintain_order=True).row(0, named=True)
        run.params({"file": path.name, "evaluations": trials.height, "best_evaluation": best["trial"] + 1})
        for trial in trials.iter_rows(named=True):
            run.metrics(progress(trial["map"], trial["best"], trial["seconds"]), trial["trial"])
        run.metrics({name: value for name, value in best.items() if name == "k" or name.startswith("weight/")})
        run.figure(search_figure(trials, {}), "search.png")
        with tempfile.TemporaryDirectory() as folder:
            trials.write_parquet(Path(folder) / "trials.parquet")
            run.artifact(Path(folder))
    return runs.get_run(run.run_id)


def ensemble_metrics(report: Report) -> dict[str, float]:
    """The metrics of an ensemble's run; the names say MAP@100K, which tracked ensembles are scored by."""
    gain = report.better_than_best_member
    metrics = {
        "ensemble/map_at_100k": report.map,
        "ensemble/low": report.interval[0],
        "ensemble/high": report.interval[1],
        "equal_weights/map_at_100k": report.equal_weights,
        "equal_weights/low": report.equal_weights_interval[0],
        "equal_weights/high": report.equal_weights_interval[1],
        "best_member/map_at_100k": report.members[report.best_member],
        "best_member/low": report.intervals[report.best_member][0],
        "best_member/high": report.intervals[report.best_member][1],
        "ensemble/gain_over_best_member": gain.map,
        "ensemble/gain_over_best_member_low": gain.low,
        "ensemble/gain_over_best_member_high": gain.high,
        "ensemble/shrinkage": report.shrink,
        **prefixed("leave_one_out", report.leave_one_out),
    }
    validated, own = report.cross_validated, report.cross_validated_map
    if validated is not None and own is not None:
        metrics |= {
            "ensemble/cross_validated_map": own,
            "shrunk_weights/cross_validated_map": validated.shrunk,
            "equal_weights/cross_validated_map": validated.equal_weights,
            "best_member/cross_validated_map": validated.best_member,
        }
    return metrics


def ensemble_note(experiment: str, lineup: str, report: Report) -> str:
    """What a reader of the MLflow UI finds on the ensemble's run."""
    validated = report.cross_validated_map
    low, high = report.interval
    shares = sorted(report.weights.items(), key=lambda item: -item[1])
    table = ["| member | weight |", "|---|---|", *(f"| {member} | {share:.3f} |" for member, share in shares)]
    lines = [
        f"**MAP@100K {report.map:.4f}** on the holdout, 95 % interval over its {report.unit} {low:.4f} to {high:.4f}. "
        "The weights were chosen on the same holdout, so this is optimistic"
        + (
            "."
            if validated is None
            else f"; fitted on half of the {report.unit} and scored on the other half it is {validated:.4f}."
        ),
        f"Equal weights {report.equal_weights:.4f} ({ranging(report.equal_weights_interval)}), best member alone "
        f"{report.members[report.best_member]:.4f} ({ranging(report.intervals.get(report.best_member))}), which is "
        f"{report.best_member}; k is {report.k:.4g}.",
        *report.remarks(shrink_command(experiment, lineup)),
        "\n".join(table),
    ]
    return "\n\n".join(lines)


def shrink_command(experiment: str, lineup: str, judgments: str = "FILE") -> str:
    """What to type for the weights of a tracked ensemble half-way toward equal ones."""
    where = ["--experiment", experiment, "--lineup", lineup, "--judgments", judgments]
    return shlex.join(["python", "-m", "scoring", "optimize", *where, "--shrink", "0.5"])


def progress(value: float, best: float, seconds: float) -> dict[str, float]:
    """The metrics of one trial."""
    return {"map_at_100k": value, "best_map_at_100k": best, "trial_seconds": seconds}


def prefixed(prefix: str, values: Mapping[str, Value]) -> dict[str, Value]:
    return {f"{prefix}/{name}": value for name, value in values.items()}


def digest(*content: object) -> str:
    """What makes a stage the same one: a short hash of everything its result depends on."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
