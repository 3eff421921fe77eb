"""`python -m tracking export`: a table of runs as a file, for git."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import polars as pl
from tyro.conf import Positional, arg

from files.replacing import replacing
from tracking import metrics, runs
from tracking.runs import Record, find_runs

# In the order of work
STAGES = ("ingest", "pretrain", "finetune", "sweep", "infer", "merge", "optimize", "merged", "fuse")
SCHEMA = {
    "dataset": pl.String,
    "lineup": pl.String,
    "member": pl.String,
    "stage": pl.String,
    "split": pl.String,
    "status": pl.String,
    "map": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "seconds": pl.Float64,
    "commit": pl.String,
    "dirty": pl.String,
    "run": pl.String,
}
Name = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")]


def export(
    out: Annotated[Positional[Path], arg(metavar="FILE.csv|.md|.json")],
    experiment: Name = None,
    lineup: Name = None,
) -> None:
    """Write the runs of all stages as a table, in an order that does not change: a new run adds lines.

    Args:
        out: The file; its suffix is the format.
        experiment: Only this experiment: a dataset's name.
        lineup: Only this line-up.
    """
    if out.suffix not in FORMATS:
        raise ValueError(f"{out} has no known format; name it .csv, .md (Markdown) or .json")
    records = find_runs(experiment, finished=False, **({runs.LINEUP: lineup} if lineup else {}))
    rows = table(records)
    with replacing(out) as temporary:
        temporary.write_text(FORMATS[out.suffix](rows))
    print(f"{out}: {rows.height} rows")


def table(records: Sequence[Record]) -> pl.DataFrame:
    """A row per stage (SCHEMA), ordered by dataset, line-up, member, stage, split and start; parents have none.

    MAP@100K is that of the holdout, or of the split of a fuse run; an infer run's is that of shift 0. Beside the row of
    an optimize run, each of its members has a row with the stage `merged`: its MAP with all shifts merged. Bounds are
    those of the 95 % percentile interval, null if none was measured.
    """
    rows = [row for record in records if runs.STAGE in record.tags for row in _rows(record)]
    order = [pl.col("stage").replace_strict({name: i for i, name in enumerate(STAGES)}, default=len(STAGES))]
    frame = pl.DataFrame(rows, {**SCHEMA, "start": pl.Datetime("ms", "UTC")}, orient="row")
    ordered = frame.sort("dataset", "lineup", "member", *order, "split", "start", "run", nulls_last=True)
    return ordered.drop("start").with_columns(pl.col("map", "low", "high").round(6), pl.col("seconds").round(1))


def _rows(record: Record) -> Iterator[tuple[object, ...]]:
    tags, values = record.tags, record.metrics
    stage, lineup = tags[runs.STAGE], tags.get(runs.LINEUP)
    made = (tags.get(runs.COMMIT), tags.get(runs.DIRTY), record.run_id, record.start)
    seconds = values.get(metrics.SECONDS)
    if seconds is None and record.end is not None:
        seconds = (record.end - record.start).total_seconds()
    named = (record.experiment, lineup, tags.get(runs.MEMBER), stage, tags.get(runs.SPLIT), record.status)
    yield (*named, *metrics.headline(stage, values), seconds, *made)
    if stage != "optimize":
        return
    for member in record.members:
        measured = [values.get(name(member)) for name in (metrics.map_of, metrics.low, metrics.high)]
        yield (record.experiment, lineup, member, "merged", "holdout", record.status, *measured, None, *made)


def _csv(rows: pl.DataFrame) -> str:
    return rows.write_csv()


def _markdown(rows: pl.DataFrame) -> str:
    numbers = {"map": "{:.4f}", "low": "{:.4f}", "high": "{:.4f}", "seconds": "{:.0f}"}
    lines = [rows.columns, ["--:" if name in numbers else "---" for name in rows.columns]]
    for row in rows.iter_rows(named=True):
        lines.append(
            [
                "" if value is None else numbers[name].format(value) if name in numbers else str(value)
                for name, value in row.items()
            ]
        )
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _json(rows: pl.DataFrame) -> str:
    """A list with one row per line."""
    return "[\n" + ",\n".join(json.dumps(row) for row in rows.iter_rows(named=True)) + "\n]\n"


FORMATS: Mapping[str, Callable[[pl.DataFrame], str]] = {".csv": _csv, ".md": _markdown, ".json": _json}
