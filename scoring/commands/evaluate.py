"""The command evaluate: MAP@K of a submission on judgments."""

import json as json_format
import logging
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from scoring.commands.options import Cutoff, FormatFlag, OneSubmission, WorkersFlags, check_cutoff
from scoring.fusion.workers import HERE, Workers, ranks_in_blocks
from scoring.lists.classes import typed_as
from scoring.lists.judgments import read_judgments
from scoring.lists.opening import member_name, open_submission
from scoring.lists.ranked import K, RankedLists
from scoring.measures.average_precision import Mode
from scoring.measures.bootstrap import RESAMPLES, Bootstrap, Resampled
from terminal.cli import counted

logger = logging.getLogger(__name__)  # `log` is a flag of the command


def evaluate(
    submission: OneSubmission,
    judgments: Annotated[Positional[Path], arg(metavar="JUDGMENTS", help_behavior_hint="")],
    *,
    cutoff: Cutoff = K,
    mode: Mode = "strict",
    format: FormatFlag = None,
    json: bool = False,
    log: bool = False,
    workers: WorkersFlags = HERE,
) -> None:
    """Print MAP@K of a submission, with its 95 % interval.

    Each list is cut at K, segments that nobody judged are dropped, and the average precision of the rest is divided by
    all positives of the class. Classes without a positive do not count. The interval is a percentile interval over
    bootstrap resamples of the judged videos (of classes if ids name no video).

    Args:
        submission: Kaggle CSV, Parquet, coded folder or TREC run.
        judgments: CSV or Parquet with class_id, segment_id, relevance, or TREC qrels. Positive is relevance above 0.
        cutoff: Length at which each list is cut (K of MAP@K).
        mode: A class with positives that the submission lacks counts 0 (strict) or does not count (google).
        format: `trec` for TREC runs and qrels; other formats are known by their suffix.
        json: Print one JSON object.
        log: Log the result as a run, too.
    """
    check_cutoff(cutoff)
    lists, bootstrap = open_submission(submission, format), Bootstrap(read_judgments(judgments, format))
    measured = measure_file(bootstrap, submission, lists, cutoff=cutoff, mode=mode, workers=workers)
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
        print(f"MAP@{cutoff} {evaluation.map:.6f} over {counted(evaluation.classes, 'class')} ({mode})")
        unit = bootstrap.judgments.unit
        print(f"95 % interval {low:.6f} to {high:.6f} over {RESAMPLES:,} bootstrap resamples of the {unit}")
        print(
            f"{counted(evaluation.judged, 'pair')} judged, {evaluation.positives:,} of them positive; "
            f"{evaluation.retrieved:,} of the judged are retrieved"
        )
    if log:
        from scoring.tracked import logs

        params = {"submission": submission, "judgments": judgments, "cutoff": cutoff, "mode": mode}
        logs.log_files(f"evaluate {member_name(submission)}", "evaluate", params=params, values=totals)


def measure_file(
    bootstrap: Bootstrap, path: Path, lists: RankedLists, *, cutoff: int, mode: Mode, workers: Workers
) -> Resampled:
    """Evaluate the opened submission of `path` on the judgments and their resamples.

    The log says if it lacks classes with positives or all judged pairs.
    """
    judgments = bootstrap.judgments
    lists = typed_as(lists, judgments)
    label = f"evaluate {member_name(path)}"
    ranks, present = ranks_in_blocks(lists, judgments, cutoff=cutoff, workers=workers, label=label)
    try:
        measured = bootstrap.measure(ranks, present, mode)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not measured.evaluation.retrieved:
        logger.warning("no judged pair is in %s; check that both files are of the same data", path)
    elif missing := len(set(judgments.classes).difference(lists.classes)):
        counts = "each counts 0" if mode == "strict" else "they do not count"
        logger.warning("%s lacks %s with positives; %s", path, counted(missing, "class"), counts)
    return measured
