"""The command compare: whether submissions can be told apart."""

import json as json_format
from collections.abc import Mapping
from dataclasses import asdict
from itertools import combinations

from scoring.commands.evaluate import measure_file
from scoring.commands.options import (
    CutoffFlag,
    FormatFlag,
    OneFile,
    Submissions,
    UnitFlag,
    WorkersFlags,
    check_cutoff,
    judgments_of,
)
from scoring.fusion.workers import HERE
from scoring.lists.judgments import read_judgments
from scoring.lists.opening import open_submissions
from scoring.lists.ranked import K
from scoring.measures.average_precision import Mode
from scoring.measures.bootstrap import CONFIDENCE, FEWEST, Bootstrap, Difference, Resampled, holm, p_text
from scoring.weights.report import interval_text
from terminal.cli import counted
from terminal.tables import table_text


def compare(
    submission: Submissions,
    *,
    judgments: OneFile,
    relevance_level: int = 1,
    unit: UnitFlag = None,
    cutoff: CutoffFlag = K,
    mode: Mode = "strict",
    format: FormatFlag = None,
    json: bool = False,
    workers: WorkersFlags = HERE,
) -> None:
    """Compare submissions: MAP@K of each with its 95 % interval, and whether they can be told apart.

    All are measured on the same judgments, and differences are paired by video or class. The table compares each with
    the best; --json has every pair. p-values are two-sided, from Student's t with the jackknife's standard error, and
    corrected (Holm) for all pairs, since any of them may turn out the best. Fewer than ten videos or classes give no
    verdict.

    Args:
        submission: Two or more Kaggle CSVs (header Class,Segments), Parquet files (class_id, segment_id, rank), coded
            folders or TREC runs (topic Q0 document rank score tag). `-` is standard input.
        judgments: Which pairs are relevant: CSV or Parquet with the header class_id,segment_id,relevance (relevant if
            above 0), or TREC qrels (topic 0 document relevance). A frame store has its own, judgments.parquet; TREC
            publishes those of a track; others write theirs. `-` is standard input.
        relevance_level: The lowest relevance that is positive.
        unit: What is resampled: video or class. Default: video if every id is <video_id>:<start>, else class.
        cutoff: Length at which each list is cut off (K of MAP@K).
        mode: A class with positives that a submission lacks counts 0 (strict) or does not count (google).
        format: `trec` for TREC runs and qrels; other formats are known by suffix or content.
        json: Print one JSON object.
    """
    check_cutoff(cutoff)
    if len(submission) < 2:
        raise ValueError("there is nothing to compare; give at least two submissions")
    given = judgments_of(read_judgments(judgments, format), level=relevance_level, unit=unit)
    sources, bootstrap = open_submissions(submission, format), Bootstrap(given)
    measured = {
        name: measure_file(bootstrap, path, lists, cutoff=cutoff, mode=mode, workers=workers)
        for path, (name, lists) in zip(submission, sources.items(), strict=True)
    }
    measured = dict(sorted(measured.items(), key=lambda item: (-item[1].map, item[0])))
    differences = _every_pair(measured)
    unit, units = given.unit, given.unit_count
    if json:
        submissions = {
            name: {"map": one.map, "low": one.interval[0], "high": one.interval[1], "classes": one.evaluation.classes}
            for name, one in measured.items()
        }
        pairs = [
            {"one": one, "other": other, **asdict(gain), "p_corrected": p, "told_apart": _told_apart(gain, p)}
            for (one, other), (gain, p) in differences.items()
        ]
        settings = {"cutoff": cutoff, "mode": mode, "unit": unit, "units": units}
        print(json_format.dumps({**settings, "submissions": submissions, "differences": pairs}))
    else:
        print(f"MAP@{cutoff} ({mode}) on {counted(units, unit)}, best first.")
        print(f"\n{_against_best(measured, differences, counted(units, unit))}")


Differences = Mapping[tuple[str, str], tuple[Difference, float]]


def _every_pair(measured: Mapping[str, Resampled]) -> Differences:
    """The difference of each pair, the better one first, and its p-value corrected for all pairs."""
    pairs = list(combinations(measured, 2))
    gains = [measured[one].over(measured[other]) for one, other in pairs]
    return dict(zip(pairs, zip(gains, holm([gain.p for gain in gains]), strict=True), strict=True))


def _told_apart(gain: Difference, p: float) -> bool | None:
    """Whether two submissions differ by more than chance explains; None if there are too few units."""
    return p < 1 - CONFIDENCE if gain.has_verdict else None


def _against_best(measured: Mapping[str, Resampled], differences: Differences, units: str) -> str:
    """A table for people: each submission compared with the best, which comes first."""
    (best, first), *others = measured.items()
    rows = [(best, f"{first.map:.4f}", interval_text(first.interval), "", "", "")]
    against = {name: differences[best, name] for name, _ in others}
    for name, one in others:
        gain, p = against[name]
        difference = (
            f"{gain.map:.4f}",
            f"{gain.low:+z.4f} to {gain.high:+z.4f}",
            p_text(p),
        )
        rows.append((name, f"{one.map:.4f}", interval_text(one.interval), *difference))
    alike = [name for name, (gain, p) in against.items() if not _told_apart(gain, p)]
    if not next(iter(against.values()))[0].has_verdict:
        verdict = f"No verdict: {units} are too few to tell submissions apart; at least {FEWEST} are needed."
    elif alike:
        verdict = f"Not told apart from {best} (p of 0.05 or more): {', '.join(alike)}."
    else:
        verdict = f"{best} is above by more than chance explains: every p is below 0.05."
    correction = f"p is corrected (Holm) for {counted(len(differences), 'comparison')}; intervals are not corrected."
    columns = ("submission", "MAP", "95 % interval", "below best", "95 % interval", "p")
    return "\n".join([table_text(columns, rows), "", *([correction] if others[1:] else []), verdict])
