"""The commands that measure submissions on judgments: evaluate and compare."""

import json as json_format
import logging
from collections.abc import Mapping
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Annotated

import polars as pl
from tyro.conf import Positional, arg

from scoring.average_precision import Mode, ranks_of_blocks
from scoring.cli import counted
from scoring.judgments import read_judgments
from scoring.options import ByWorkers, FormatFlag, OneFile, OneSubmission, Submissions, at_least_one
from scoring.parallel import HERE, Workers, ranks_in_blocks
from scoring.progress import shown
from scoring.ranked import K, RankedLists, parts
from scoring.reports import ranging
from scoring.resampling import REPLICATES, Draws, Sampled, Unit
from scoring.submission import Format, member_name, open_submission, open_submissions

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
        from scoring import logs

        params = {"submission": submission, "judgments": judgments, "k": k, "mode": mode}
        logs.log_files(f"evaluate {member_name(submission)}", "evaluate", params, totals, [])


def compare(
    submission: Submissions,
    *,
    judgments: OneFile,
    k: int = K,
    mode: Mode = "strict",
    format: FormatFlag = None,
    json: bool = False,
    workers: ByWorkers = HERE,
) -> None:
    """Compare submissions: MAP@K of each with its 95 % interval, and whether they can be told apart.

    All are measured on the same draws of the judged videos with replacement (of classes where ids name no video), and
    differences are taken draw by draw: a paired bootstrap. Printed is each beside the best; --json has every pair.

    Args:
        submission: Two or more Kaggle CSVs, Parquet files, coded folders or TREC runs.
        judgments: CSV or Parquet with class_id, segment_id, relevance, or TREC qrels. Positive is relevance above 0.
        k: Length at which each list is cut.
        mode: What a class with positives that a submission lacks counts: 0 (strict) or nothing (google).
        format: `trec` for TREC runs and qrels; other formats are known by their suffix.
        json: Print one JSON object.
    """
    at_least_one("k", k)
    if len(submission) < 2:
        raise ValueError("there is nothing to compare; give at least two submissions")
    sources, judged = open_submissions(submission, format), read_judgments(judgments, format)
    draws = Draws(judged)
    measured = {
        name: _measure(draws, path, lists, judged, k, mode, format, workers)
        for path, (name, lists) in zip(submission, sources.items(), strict=True)
    }
    measured = dict(sorted(measured.items(), key=lambda item: (-item[1].map, item[0])))
    if json:
        print(json_format.dumps(_compared(measured, k, mode, draws.unit)))
    else:
        print(_comparison(measured, k, mode, draws.unit))


def _compared(measured: Mapping[str, Sampled], k: int, mode: Mode, unit: Unit) -> dict[str, object]:
    """Each submission, best first, and each pair of them."""
    submissions = {
        name: {"map": one.map, "low": one.interval[0], "high": one.interval[1], "classes": one.evaluation.classes}
        for name, one in measured.items()
    }
    differences = [
        {"one": one, "other": other, **asdict(measured[one].over(measured[other]))}
        for one, other in combinations(measured, 2)
    ]
    return {"k": k, "mode": mode, "unit": unit, "submissions": submissions, "differences": differences}


def _comparison(measured: Mapping[str, Sampled], k: int, mode: Mode, unit: Unit) -> str:
    """For people: each submission beside the best."""
    (best, first), *others = measured.items()
    width = max(len("submission"), *map(len, measured))
    lines = [
        f"MAP@{k} ({mode}), best first. Intervals are over the same {REPLICATES:,} draws of the {unit}.",
        "",
        f"{'submission':{width}}     MAP  {'95 % interval':16}  below best  {'95 % interval':18}  best is above",
        f"{best:{width}}  {first.map:.4f}  {ranging(first.interval)}",
    ]
    level = []
    for name, one in others:
        gain = first.over(one)
        level += [name] if gain.low <= 0 else []
        apart = f"{gain.map:10.4f}  {f'{gain.low:+.4f} to {gain.high:+.4f}':18}  {gain.above:13.1%}"
        lines += [f"{name:{width}}  {one.map:.4f}  {ranging(one.interval)}  {apart}"]
    verdict = (
        f"Not told apart from {best}, since the interval of the difference holds 0: {', '.join(level)}."
        if level
        else f"{best} is above by more than chance explains: no interval of a difference holds 0."
    )
    lines += ["", verdict]
    return "\n".join(lines)


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
