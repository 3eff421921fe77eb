"""The command optimize, on files."""

import json as json_format
from dataclasses import asdict

import polars as pl

from scoring.commands.options import (
    PROGRAM,
    CutoffFlag,
    FormatFlag,
    OneFile,
    SearchFlags,
    Submissions,
    UnitFlag,
    check_cutoff,
    check_loggable,
    judgments_of,
    warn_of_missing_classes,
)
from scoring.lists.classes import typed_as
from scoring.lists.judgments import read_judgments
from scoring.lists.opening import member_name, member_names, open_submissions
from scoring.lists.ranked import K
from scoring.lists.writing import check_output
from scoring.measures.average_precision import Mode
from scoring.weights.report import Report
from scoring.weights.settings import DEFAULTS
from terminal.cli import typed


def optimize(
    submission: Submissions,
    *,
    judgments: OneFile,
    out: OneFile,
    search: SearchFlags = DEFAULTS,
    relevance_level: int = 1,
    unit: UnitFlag = None,
    cutoff: CutoffFlag = K,
    mode: Mode = "strict",
    format: FormatFlag = None,
    json: bool = False,
    log: bool = False,
) -> None:
    """Search the weights and k that fuse submissions to the highest MAP, and report how far to trust them.

    Bayesian optimisation with Ax, warm-started with equal weights, powers of each member's own MAP, and the best
    weights of a smoothed MAP at three k. The result is never worse than equal weights or the best member on these
    judgments; the cross-validated MAP (weights of a coordinate ascent of 300 evaluations on half of the videos or
    classes, scored on the other half) estimates it on others. An interrupted search resumes if it is typed again, with
    the same result. `tracked optimize` searches the weights of a line-up's members.

    Args:
        submission: Kaggle CSVs (header Class,Segments), Parquet files (class_id, segment_id, rank), coded folders or
            TREC runs (topic Q0 document rank score tag), one per member, named as their files. `-` is standard input.
        judgments: Which pairs are relevant: CSV or Parquet with the header class_id,segment_id,relevance (relevant if
            above 0), or TREC qrels (topic 0 document relevance). A frame store has its own, judgments.parquet; TREC
            publishes those of a track; others write theirs. `-` is standard input.
        relevance_level: The lowest relevance that is positive.
        unit: What is resampled and halved: video or class. Default: video if every id is <video_id>:<start>, else
            class.
        out: The weights.json to write; the trials are written to weights.trials.parquet in the same folder.
        cutoff: Length at which lists are cut off (K of MAP@K).
        mode: A class with positives that all members lack counts 0 (strict) or does not count (google).
        format: `trec` for TREC runs and qrels; other formats are known by suffix or content.
        json: Print one JSON object.
        log: Also log the search as a run.
    """
    from scoring.weights.find import search_and_measure

    check_cutoff(cutoff)
    for written in (out, out.with_suffix(".trials.parquet")):
        check_output(written, [*submission, judgments])
    if log:
        check_loggable(member_names(submission))
    judged = judgments_of(read_judgments(judgments, format), level=relevance_level, unit=unit)
    sources = open_submissions(submission, format)
    sources = {name: typed_as(source, judged) for name, source in sources.items()}
    warn_of_missing_classes(sources)
    unfinished = out.with_suffix(".trials.jsonl")
    with search_and_measure(sources, judged, search, unfinished=unfinished, cutoff=cutoff, mode=mode) as outcome:
        report, trials = outcome.report, outcome.search.trials
        weights = report.weights_file(trials.height)
        weights.write(out)
        trials.write_parquet(out.with_suffix(".trials.parquet"))
    if log:
        from scoring.tracked import logs

        params = {"judgments": judgments, **logs.search_params(search), "cutoff": cutoff, "mode": mode}
        logs.log_search(f"optimize {member_name(out)}", outcome, params=params, weights=weights)
    if json:
        print(report_json(report, trials))
    else:
        print(report.text(typed(PROGRAM, "--shrink", "0.5")))


def report_json(report: Report, trials: pl.DataFrame) -> str:
    """The report as one JSON object, with the number of trials and their seconds."""
    return json_format.dumps({**asdict(report), "trials": trials.height, "seconds": trials["seconds"].sum()})
