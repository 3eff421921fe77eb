"""The command optimize."""

import json as json_format
from dataclasses import asdict
from pathlib import Path

import polars as pl

from scoring.commands.options import (
    NO_RUNS,
    PROGRAM,
    ByRuns,
    FileFlag,
    FormatFlag,
    OneFile,
    Submissions,
    _warn_of_missing_classes,
    at_least_one,
    refuse,
    target,
)
from scoring.fusion.fusion import By
from scoring.lists.judgments import read_judgments
from scoring.lists.opening import member_name, open_submissions
from scoring.lists.ranked import K
from scoring.measures.average_precision import Mode
from scoring.weights.weights_json import Weights
from terminal.cli import typed


def optimize(
    submission: Submissions = (),
    *,
    judgments: OneFile,
    out: FileFlag = None,
    trials: int = 60,
    seed: int = 0,
    polish: int = 0,
    shrink: float = 0.0,
    k: int = K,
    mode: Mode = "strict",
    format: FormatFlag = None,
    json: bool = False,
    log: bool = False,
    by: By | None = None,
    runs: ByRuns = NO_RUNS,
) -> None:
    """Search the weights and k that fuse submissions to the highest MAP, and say how far to trust them.

    Bayesian optimisation with Ax, warm-started with equal weights, powers of each member's own MAP, and the best
    weights of a smoothed MAP at three k. The result is never worse than equal weights or the best member on these
    judgments; whether that holds on others is what the cross-validated MAP says (weights of a climb of 300 evaluations
    on half of the videos, scored on the other half). A search that was stopped goes on when it is typed again, to the
    same end.

    Args:
        submission: Kaggle CSVs, Parquet files, coded folders or TREC runs, one a member.
        judgments: CSV or Parquet with class_id, segment_id, relevance, or TREC qrels.
        out: The weights.json to write; the trials are written beside it (weights.trials.parquet).
        trials: Weight vectors that the search tries, up to seven warm starts among them.
        seed: The same seed repeats the search.
        polish: Evaluations on top, from the best trial on: a coordinate ascent, then CMA-ES.
        shrink: Draw the found weights toward equal ones: 0 not at all, 0.5 half-way, 1 all the way.
        k: Length at which lists are cut (K of MAP@K).
        mode: What a class with positives that all members lack counts: 0 (strict) or nothing (google).
        format: `trec` for TREC runs and qrels; other formats are known by their suffix.
        json: Print one JSON object.
        log: Log the search as a run, too.
        by: With --experiment: how the shifts of each member are merged, as for `merge`. Default: rank.
    """
    judged = read_judgments(judgments, format)
    if not submission:
        from scoring.commands import tracked

        refuse("tracked ensembles are scored by MAP@100K, strict", k=k != K, mode=mode != "strict")
        refuse("tracked runs are logged in any case", log=log)
        tried, report, weights = tracked.optimize(runs, judged, trials, seed, polish, shrink, by or "rank")
        _write(weights, tried, out)
    else:
        from scoring.weights.find import search_and_measure

        runs.refuse_beside_files(by=by)
        at_least_one("k", k)
        sources = open_submissions(submission, format)
        _warn_of_missing_classes(sources)
        unfinished = target(out).with_suffix(".trials.jsonl")
        outcome = search_and_measure(sources, judged, unfinished, trials, seed, polish, shrink, k, mode)
        tried, report = outcome.search.trials, outcome.report
        weights = report.weights_file(tried.height)
        _write(weights, tried, out)
        outcome.kept.done()
        if log:
            from scoring.tracked import logs

            params = {"judgments": judgments, "trials": trials, "seed": seed, "polish": polish, "shrinkage": shrink}
            params |= {"k_at": k, "mode": mode}
            logs.log_search(f"optimize {member_name(target(out))}", params, outcome, weights)
    if json:
        print(json_format.dumps({**asdict(report), "trials": tried.height, "seconds": tried["seconds"].sum()}))
    else:
        print(report.text(typed(PROGRAM, "--shrink", "0.5")))


def _write(weights: Weights, trials: pl.DataFrame, out: Path | None) -> None:
    if out:
        weights.write(out)
        trials.write_parquet(out.with_suffix(".trials.parquet"))
