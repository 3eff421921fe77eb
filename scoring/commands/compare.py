"""The command compare: whether submissions can be told apart."""

import json as json_format
from collections.abc import Mapping
from dataclasses import asdict
from itertools import combinations

from scoring.commands.evaluate import _measure
from scoring.commands.options import ByWorkers, FormatFlag, OneFile, Submissions, at_least_one
from scoring.fusion.workers import HERE
from scoring.lists.judgments import read_judgments
from scoring.lists.opening import open_submissions
from scoring.lists.ranked import K
from scoring.measures.average_precision import Mode
from scoring.measures.bootstrap import REPLICATES, Draws, Sampled, Unit
from scoring.weights.report import ranging


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
