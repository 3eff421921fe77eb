"""The commands that measure submissions on judgments: evaluate and compare."""

import json as json_format
import logging
from pathlib import Path
from typing import Annotated

import polars as pl
from tyro.conf import Positional, arg

from scoring.commands.options import ByWorkers, FormatFlag, OneSubmission, at_least_one
from scoring.fusion.workers import HERE, Workers, ranks_in_blocks
from scoring.lists.judgments import read_judgments
from scoring.lists.opening import Format, member_name, open_submission
from scoring.lists.progress import shown
from scoring.lists.ranked import K, RankedLists, parts
from scoring.measures.average_precision import Mode, ranks_of_blocks
from scoring.measures.bootstrap import REPLICATES, Draws, Sampled
from terminal.cli import counted

logger = logging.getLogger(__name__)


def evaluate(
    submission: OneSubmission,
    judgments: Annotated[Positional[Path], arg(metavar="JUDGMENTS", help_behavior_hint="")],
    k: int = K,
    mode: Mode = "strict",
    format: FormatFlag = None,
    json: bool = False,
    log: bool = False,
    workers: ByWorkers = HERE,
) -> None:
    """Print MAP@K of a submission, with its 95 % interval.

    Each list is cut at K, segments that nobody judged are dropped, and the average precision of what is left is divided
    by all positives of the class. Classes without a positive do not count. The interval is over draws of the judged
    videos with replacement (of classes where ids name no video).

    Args:
        submission: Kaggle CSV, Parquet, coded folder or TREC run.
        judgments: CSV or Parquet with class_id, segment_id, relevance, or TREC qrels. Positive is relevance above 0.
        k: Length at which each list is cut.
        mode: What a class with positives that the submission lacks counts: 0 (strict) or nothing (google).
        format: `trec` for TREC runs and qrels; other formats are known by their suffix.
        json: Print one JSON object.
        log: Log the result as a run, too.
    """
    at_least_one("k", k)
    lists, judged = open_submission(submission, format), read_judgments(judgments, format)
    draws = Draws(judged)
    measured = _measure(draws, submission, lists, judged, k, mode, format, workers)
    evaluation, (low, high) = measured.evaluation, measured.interval
    totals = {
        "map": evaluation.map,
        "low": low,
        "high": high,
        "classes": evaluation.classes,
        "positives": evaluation.positives,
        "judged": evaluation.judged,
        "retrieved": evaluation.retrieved,
    }
    if json:
        per_class = {str(class_id): ap for class_id, ap, _ in evaluation.per_class.iter_rows()}
        print(json_format.dumps({**totals, "per_class": per_class}))
    else:
        print(f"MAP@{k} {evaluation.map:.6f} over {counted(evaluation.classes, 'class')} ({mode})")
        print(f"95 % interval {low:.6f} to {high:.6f} over {REPLICATES:,} draws of the {draws.unit}")
        print(
            f"{counted(evaluation.judged, 'pair')} judged, {evaluation.positives:,} of them positive; "
            f"{evaluation.retrieved:,} of the judged are retrieved"
        )
    if log:
        from scoring.tracked import logs

        params = {"submission": submission, "judgments": judgments, "k": k, "mode": mode}
        logs.log_files(f"evaluate {member_name(submission)}", "evaluate", params, totals, [])


def _measure(
    draws: Draws,
    path: Path,
    lists: RankedLists,
    judged: pl.DataFrame,
    k: int,
    mode: Mode,
    format: Format | None,
    workers: Workers,
) -> Sampled:
    """A submission on the judgments and on their draws; a line in the log where it lacks what was judged."""
    if workers.elsewhere:
        ranks, present = ranks_in_blocks(path, format, judged, k, workers)
    else:
        blocks = shown(parts(lists), [lists], f"evaluate {member_name(path)}")
        ranks, present = ranks_of_blocks(blocks, judged, k)
    try:
        measured = draws.measure(ranks, present, mode)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not measured.evaluation.retrieved:
        logger.warning("no judged pair is in %s; check that both files are of the same data", path)
    elif missing := len(set(judged.filter(pl.col("relevance") > 0)["class_id"]).difference(lists.classes)):
        counts = "each counts 0" if mode == "strict" else "they do not count"
        logger.warning("%s lacks %s with positives; %s", path, counted(missing, "class"), counts)
    return measured
