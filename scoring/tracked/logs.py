"""Log searches for weights, ensembles, and commands on plain files."""

import logging
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from scoring.tracked.figures import best_row, log_classes, search_figure, sensitivity_figure
from scoring.weights.cross_validation import sensitivity
from scoring.weights.find import Outcome
from scoring.weights.judged_pairs import JUDGED_PAIRS, judged_pairs
from scoring.weights.report import Report, interval_text
from scoring.weights.settings import SearchSettings
from scoring.weights.weights_json import Weights
from terminal.cli import counted
from tracking import metrics, runs
from tracking.registry import page, registered_name
from tracking.stage import digest
from tracking.writing import Run, open_run

log = logging.getLogger(__name__)

FILES = "files"  # the experiment of commands on plain files
PUBLISHED = "published"  # the experiment of the original system's search


def log_files(
    name: str,
    stage: str,
    *,
    params: Mapping[str, object],
    values: Mapping[str, float] | None = None,
    files: Sequence[Path] = (),
) -> None:
    """Log a command on plain files as a run, with the files that it wrote (`--log`)."""
    with open_run(FILES, name, {runs.STAGE: stage}) as run:
        run.params(params)
        run.metrics(values or {})
        for file in files:
            run.artifact(file, file.name if file.is_dir() else "")
    log.info("logged as the run %s of the experiment %s", run.run_id, FILES)


def log_search(name: str, outcome: Outcome, *, params: Mapping[str, object], weights: Weights) -> None:
    """Log a search on plain files, with the same metrics and files as `optimize_members`."""
    with open_run(FILES, name, {runs.STAGE: "optimize"}) as run:
        run.params(params)
        _log_trials(run, outcome.search.trials)
        log_outcome(run, outcome, weights)
    log.info("logged as the run %s of the experiment %s", run.run_id, FILES)


def log_outcome(run: Run, outcome: Outcome, weights: Weights) -> None:
    """Log a search: shares and baselines as metrics, two figures, weights, trials, report, AP per class and judged
    pairs."""
    search, report = outcome.search, outcome.report
    run.metrics(weights_metrics(weights))
    run.metrics({metrics.map_of(metrics.EQUAL_WEIGHTS): search.equal_weights})
    run.metrics({metrics.map_of(member): value for member, value in search.members.items()})
    run.metrics({metrics.LOW: report.interval[0], metrics.HIGH: report.interval[1]})
    for name, interval in {metrics.EQUAL_WEIGHTS: report.equal_weights_interval, **report.intervals}.items():
        run.metrics(_ends(name, interval))
    baselines = {"equal weights": search.equal_weights, "best member": search.members[search.best_member]}
    run.figure(search_figure(search.trials, baselines), "search.png")
    log_classes(run, outcome.per_class)
    if curves := sensitivity(outcome.objective, search.weights, k=search.k):
        run.figure(sensitivity_figure(curves, search.map), "sensitivity.png")
    with tempfile.TemporaryDirectory() as folder:
        weights.write(Path(folder) / "weights.json")
        report.write(Path(folder) / "report.json")
        search.trials.write_parquet(Path(folder) / "trials.parquet")
        outcome.per_class.write_parquet(Path(folder) / "per_class.parquet")
        judged_pairs(outcome.objective, outcome.ranks).write_parquet(Path(folder) / JUDGED_PAIRS)
        run.artifact(Path(folder))


def log_published(path: Path, trials: pl.DataFrame) -> runs.Record:
    """Log the original's published weight search as a reference run; an existing run of the same trials is returned."""
    content = digest("published", trials.write_csv())
    if logged := runs.find_runs(PUBLISHED, stage="optimize", config_digest=content):
        log.info("the published search is already logged (run %s)", logged[0].run_id[:8])
        return logged[0]
    tags = {runs.STAGE: "optimize", runs.CONFIG_DIGEST: content}
    note = "The original system's weight search, as published. A reference: no value was recomputed."
    with open_run(PUBLISHED, "published weight search", tags, note=note) as run:
        best = best_row(trials)
        run.params({"file": path.name, "evaluations": trials.height, "best_evaluation": best["trial"] + 1})
        _log_trials(run, trials)
        run.metrics({name: best[name] for name in best if name == metrics.K or name.startswith(metrics.WEIGHT)})
        run.figure(search_figure(trials, {}), "search.png")
        with tempfile.TemporaryDirectory() as folder:
            trials.write_parquet(Path(folder) / "trials.parquet")
            run.artifact(Path(folder))
    return runs.get_run(run.run_id)


def ensemble_metrics(report: Report) -> dict[str, float]:
    """The metrics of an ensemble's run. Tracked ensembles are scored by MAP@100K."""
    gain = report.better_than_best_member
    values = {
        metrics.map_of(metrics.ENSEMBLE): report.map,
        **_ends(metrics.ENSEMBLE, report.interval),
        metrics.map_of(metrics.EQUAL_WEIGHTS): report.equal_weights,
        **_ends(metrics.EQUAL_WEIGHTS, report.equal_weights_interval),
        metrics.map_of(metrics.BEST_MEMBER): report.members[report.best_member],
        **_ends(metrics.BEST_MEMBER, report.intervals[report.best_member]),
        metrics.GAIN: gain.map,
        metrics.GAIN_LOW: gain.low,
        metrics.GAIN_HIGH: gain.high,
        metrics.SHRINKAGE: report.shrink,
        **{metrics.leave_one_out(member): lost for member, lost in report.leave_one_out.items()},
    }
    validated, ensemble = report.cross_validated, report.cross_validated_map
    if validated is not None and ensemble is not None:
        values |= {
            metrics.cross_validated(metrics.ENSEMBLE): ensemble,
            metrics.cross_validated(metrics.SHRUNK_WEIGHTS): validated.shrunk,
            metrics.cross_validated(metrics.EQUAL_WEIGHTS): validated.equal_weights,
            metrics.cross_validated(metrics.BEST_MEMBER): validated.best_member,
        }
    return values


def ensemble_note(experiment: str, lineup: str, report: Report) -> str:
    """The description of the ensemble's run in the MLflow UI."""
    validated, units = report.cross_validated_map, counted(report.units, report.unit)
    if report.given:
        origin = "The weights were given"
        held_out = "" if validated is None else f"; the same weights on halves of the {units}: {validated:.4f}"
    else:
        origin = "The weights were chosen on the same holdout, so this is optimistic"
        fitted = f"fitted on half of the {units} and scored on the other half it is"
        held_out = "" if validated is None else f"; {fitted} {validated:.4f}"
    low, high = report.interval
    best, equal = report.best_member, interval_text(report.equal_weights_interval)
    shares = sorted(report.weights.items(), key=lambda item: -item[1])
    table = ["| member | weight |", "|---|---|", *(f"| {member} | {share:.3f} |" for member, share in shares)]
    lines = [
        f"**MAP@100K {report.map:.4f}** on the holdout, 95 % interval over {units} {low:.4f} to {high:.4f}. "
        f"{origin}{held_out}.",
        f"Equal weights {report.equal_weights:.4f} ({equal}), best member alone {report.members[best]:.4f} "
        f"({interval_text(report.intervals.get(best))}), which is {best}; k is {report.k:.4g}.",
        *report.remarks(shrink_command(experiment, lineup)),
        f"Registered as {page(registered_name(experiment, lineup, 'ensemble'))}, with its members' versions.",
        "\n".join(table),
    ]
    return "\n\n".join(lines)


def shrink_command(experiment: str, lineup: str, judgments: str = "FILE") -> str:
    """The command line that shrinks the weights of a tracked ensemble half-way towards equal ones."""
    flags = ["--experiment", experiment, "--lineup", lineup, "--judgments", judgments, "--shrink", "0.5"]
    return shlex.join(["python", "-m", "scoring", "tracked", "optimize", *flags])


def weights_metrics(weights: Weights) -> dict[str, float]:
    """Each member's share, and k."""
    return {**{metrics.weight(member): share for member, share in weights.weights.items()}, metrics.K: weights.k}


def trial_metrics(value: float, *, best: float, seconds: float) -> dict[str, float]:
    """The metrics of one trial: its MAP, the best so far, and its seconds."""
    return {metrics.MAP: value, metrics.BEST_MAP: best, metrics.TRIAL_SECONDS: seconds}


def search_params(search: SearchSettings) -> dict[str, object]:
    """The params of a search."""
    return {"trials": search.trials, "seed": search.seed, "polish": search.polish, "shrinkage": search.shrink}


def _log_trials(run: Run, trials: pl.DataFrame) -> None:
    for trial in trials.iter_rows(named=True):
        run.metrics(trial_metrics(trial["map"], best=trial["best"], seconds=trial["seconds"]), trial["trial"])


def _ends(subject: str, interval: tuple[float, float]) -> dict[str, float]:
    return {metrics.low(subject): interval[0], metrics.high(subject): interval[1]}
