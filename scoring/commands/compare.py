"""The command compare: whether submissions can be told apart."""

import json as json_format
from collections.abc import Mapping
from dataclasses import asdict
from itertools import combinations

from scoring.commands.evaluate import measure_file
from scoring.commands.options import Cutoff, FormatFlag, OneFile, Submissions, WorkersFlags, check_cutoff
from scoring.fusion.workers import HERE
from scoring.lists.judgments import read_judgments
from scoring.lists.opening import open_submissions
from scoring.lists.ranked import K
from scoring.measures.average_precision import Mode
from scoring.measures.bootstrap import RESAMPLES, Bootstrap, Resampled
from scoring.weights.report import interval_text
from terminal.tables import table_text
from videos.judgments import Unit


def compare(
    submission: Submissions,
    *,
    judgments: OneFile,
    cutoff: Cutoff = K,
    mode: Mode = "strict",
    format: FormatFlag = None,
    json: bool = False,
    workers: WorkersFlags = HERE,
) -> None:
    """Compare submissions: MAP@K of each with its 95 % interval, and whether they can be told apart.

    All are measured on the same bootstrap resamples of the judged videos (of classes if ids name no video), and
    differences are taken resample by resample: a paired bootstrap. The table compares each with the best; --json has
    every pair.

    Args:
        submission: Two or more Kaggle CSVs, Parquet files, coded folders or TREC runs.
        judgments: CSV or Parquet with class_id, segment_id, relevance, or TREC qrels. Positive is relevance above 0.
        cutoff: Length at which each list is cut (K of MAP@K).
        mode: A class with positives that a submission lacks counts 0 (strict) or does not count (google).
        format: `trec` for TREC runs and qrels; other formats are known by their suffix.
        json: Print one JSON object.
    """
    check_cutoff(cutoff)
    if len(submission) < 2:
        raise ValueError("there is nothing to compare; give at least two submissions")
    sources, bootstrap = open_submissions(submission, format), Bootstrap(read_judgments(judgments, format))
    measured = {
        name: measure_file(bootstrap, path, lists, cutoff=cutoff, mode=mode, workers=workers)
        for path, (name, lists) in zip(submission, sources.items(), strict=True)
    }
    measured = dict(sorted(measured.items(), key=lambda item: (-item[1].map, item[0])))
    unit = bootstrap.judgments.unit
    if json:
        print(json_format.dumps({"cutoff": cutoff, "mode": mode, "unit": unit, **_every_pair(measured)}))
    else:
        print(f"MAP@{cutoff} ({mode}), best first. {_against_best(measured, unit)}")


def _every_pair(measured: Mapping[str, Resampled]) -> dict[str, object]:
    """Each submission, best first, and the difference of each pair."""
    submissions = {
        name: {"map": one.map, "low": one.interval[0], "high": one.interval[1], "classes": one.evaluation.classes}
        for name, one in measured.items()
    }
    differences = [
        {"one": one, "other": other, **asdict(measured[one].over(measured[other]))}
        for one, other in combinations(measured, 2)
    ]
    return {"submissions": submissions, "differences": differences}


def _against_best(measured: Mapping[str, Resampled], unit: Unit) -> str:
    """For people: each submission compared with the best, which comes first."""
    (best, first), *others = measured.items()
    rows, level = [(best, f"{first.map:.4f}", interval_text(first.interval), "", "", "")], []
    for name, one in others:
        gain = first.over(one)
        level += [name] if gain.low <= 0 else []
        difference = (f"{gain.map:.4f}", f"{gain.low:+.4f} to {gain.high:+.4f}", f"{gain.above:.1%}")
        rows.append((name, f"{one.map:.4f}", interval_text(one.interval), *difference))
    columns = ("submission", "MAP", "95 % interval", "below best", "95 % interval", "best is above")
    verdict = (
        f"Not told apart from {best}, since the interval of the difference holds 0: {', '.join(level)}."
        if level
        else f"{best} is above by more than chance explains: no interval of a difference holds 0."
    )
    return "\n".join(
        [
            f"Intervals are over the same {RESAMPLES:,} bootstrap resamples of the {unit}.",
            "",
            table_text(columns, rows),
            "",
            verdict,
        ]
    )
