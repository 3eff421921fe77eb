"""The command evaluate: MAP@K and other measures of a submission on judgments."""

import json as json_format
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import polars as pl
from tyro.conf import Positional, arg

from files.replacing import replacing
from scoring.commands.options import (
    CutoffFlag,
    FileFlag,
    FormatFlag,
    UnitFlag,
    WorkersFlags,
    check_cutoff,
    judgments_of,
)
from scoring.fusion.workers import HERE, Workers, ranks_in_blocks
from scoring.lists.classes import typed_as
from scoring.lists.judgments import read_judgments
from scoring.lists.opening import member_name, open_submission
from scoring.lists.ranked import K, RankedLists
from scoring.lists.streams import STREAM
from scoring.lists.writing import check_output
from scoring.measures.average_precision import Mode
from scoring.measures.bootstrap import RESAMPLES, Bootstrap, Resampled
from scoring.measures.others import parse_measure, values_per_class
from terminal.cli import counted
from terminal.tables import table_text

logger = logging.getLogger(__name__)  # `log` is a flag of the command

Files = Annotated[Positional[tuple[Path, ...]], arg(metavar="SUBMISSION", help_behavior_hint="")]
Measures = Annotated[tuple[str, ...], arg(metavar="NAME...")]


def evaluate(
    submission: Files,
    *,
    judgments: FileFlag = None,
    measure: Measures = ("MAP",),
    relevance_level: int = 1,
    per_class: FileFlag = None,
    unit: UnitFlag = None,
    cutoff: CutoffFlag = K,
    mode: Mode = "strict",
    format: FormatFlag = None,
    json: bool = False,
    log: bool = False,
    workers: WorkersFlags = HERE,
) -> None:
    """Print MAP@K of a submission with its 95 % interval, or other measures.

    For MAP each list is cut off at K, unjudged segments are dropped, and the precisions at the positives are summed and
    divided by the number of all positives of the class. Classes without a positive do not count. The interval is a
    percentile interval over bootstrap resamples of the judged videos or classes.

    Args:
        submission: Kaggle CSV (header Class,Segments; a line is a class, a comma, and ids separated by blanks, best
            first), Parquet (class_id, segment_id, rank), coded folder or TREC run (topic Q0 document rank score tag,
            read in the order of the scores). `-` is standard input.
        judgments: Which pairs are relevant: CSV or Parquet with the header class_id,segment_id,relevance (relevant if
            above 0), or TREC qrels (topic 0 document relevance). A frame store has its own, judgments.parquet; TREC
            publishes those of a track; others write theirs. `-` is standard input. May also
            be given after the submission.
        measure: MAP (of judged segments, see --cutoff), and those of ir_measures over the whole list: AP (as trec_eval
            computes it), nDCG@10, P@10, Recall@100, Judged@10; several are separated by blanks.
        relevance_level: The lowest relevance that is positive. nDCG uses the grades.
        per_class: File to write the values per class to: .csv or .parquet; `-` prints them as CSV.
        unit: What is resampled: video or class. Default: video if every id is <video_id>:<start>, else class.
        cutoff: Length at which each list is cut off (K of MAP@K).
        mode: A class with positives that the submission lacks counts 0 (strict) or does not count (google).
        format: `trec` for TREC runs and qrels; other formats are known by suffix or content.
        json: Print one JSON object.
        log: Log the result as a run, too.
    """
    check_cutoff(cutoff)
    path, judgments = _one_and_judgments(submission, judgments)
    if per_class and per_class != STREAM and per_class.suffix not in (".csv", ".parquet"):
        raise ValueError(f"--per-class {per_class} has no known format; name it .csv or .parquet")
    if per_class and per_class != STREAM:
        check_output(per_class, [path, judgments])
    others = {name: parse_measure(name, level=relevance_level) for name in measure if name != "MAP"}
    given = read_judgments(judgments, format)
    lists, totals, units, means, tables = open_submission(path, format), {}, {}, {}, []
    if "MAP" in measure:
        bootstrap = Bootstrap(judgments_of(given, level=relevance_level, unit=unit))
        measured = measure_file(bootstrap, path, lists, cutoff=cutoff, mode=mode, workers=workers)
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
        units = {"unit": bootstrap.judgments.unit, "units": measured.units}
        tables.append(evaluation.per_class.select("class_id", MAP="ap"))
        if not json:
            print(f"MAP@{cutoff} {evaluation.map:.6f} over {counted(evaluation.classes, 'class')} ({mode})")
            print(
                f"95 % interval {low:.6f} to {high:.6f} over {RESAMPLES:,} bootstrap resamples of "
                f"{counted(measured.units, bootstrap.judgments.unit)}"
            )
            print(
                f"{counted(evaluation.judged, 'pair')} judged, {evaluation.positives:,} of them positive; "
                f"{evaluation.retrieved:,} of the judged are retrieved"
            )
    if others:
        tables.append(values_per_class(lists, given, others, mode))
        means = {name: tables[-1][name].mean() for name in others}
        if not json:
            rows = [(name, f"{value:.6f}") for name, value in means.items()]
            print(table_text((f"over {counted(tables[-1].height, 'class')}", "mean"), rows))
    if per_class:
        _write_per_class(tables, per_class)
    if json:
        values = {str(class_id): ap for class_id, ap, *_ in tables[0].iter_rows()} if totals else None
        extra = ({"per_class": values} if totals else {}) | ({"measures": means} if means else {})
        print(json_format.dumps({**totals, **units, **extra}))
    if log:
        from scoring.tracked import logs

        params = {"submission": path, "judgments": judgments, "cutoff": cutoff, "mode": mode}
        logs.log_files(f"evaluate {member_name(path)}", "evaluate", params=params, values={**totals, **means})


def _one_and_judgments(files: Sequence[Path], judgments: Path | None) -> tuple[Path, Path]:
    """The submission, and the judgments from their flag or from the second file."""
    if len(files) == 2 and judgments is None:
        return files[0], files[1]
    if len(files) != 1 or judgments is None:
        raise ValueError("give one submission and --judgments FILE; `compare` takes several submissions")
    return files[0], judgments


def _write_per_class(tables: Sequence[pl.DataFrame], path: Path) -> None:
    table = tables[0]
    for other in tables[1:]:
        table = table.join(other, on="class_id", how="full", coalesce=True).sort("class_id")
    if path == STREAM:
        print(table.write_csv(), end="")
        return
    with replacing(path) as temporary:
        table.write_csv(temporary) if path.suffix == ".csv" else table.write_parquet(temporary)


def measure_file(
    bootstrap: Bootstrap, path: Path, lists: RankedLists, *, cutoff: int, mode: Mode, workers: Workers
) -> Resampled:
    """Evaluate the opened submission of `path` on the judgments and their resamples.

    Warns if it lacks classes with positives or all judged pairs.
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
