"""`python -m tracking status`: the stages that are running, have failed or are dead."""

import json as json_format
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from tracking import runs
from tracking.liveness import HOST, PID
from tracking.outbox import waiting_text

COLUMNS = ("state", "experiment", "line-up", "run of", "stage", "progress", "host", "pid", "since (UTC)", "run")
STAGE = (runs.DATASET, runs.LINEUP, runs.MEMBER, runs.STAGE, runs.SPLIT)  # tags
WIDE = 160  # columns of a table that is not printed on a terminal


def status(days: float = 7, json: bool = False) -> None:
    """List the stages that are running, and those whose newest run has failed or was killed.

    Nothing is written. A process on another machine cannot be inspected: its runs count as running until it ends them,
    and the time in the progress column tells when it was last heard of.

    Args:
        days: Failed and killed stages of the last so many days are listed.
        json: Print a JSON list instead of a table.
    """
    if days < 0:
        raise ValueError(f"--days is {days}; it must be at least 0")
    records = unfinished(datetime.now(UTC) - timedelta(days=days))
    if json:
        print(json_format.dumps([_entry(record) for record in records], indent=1))
    else:
        _print_table(records, days)


def unfinished(since: datetime) -> list[runs.Record]:
    """The running stages, and the failed and killed ones begun after `since` that no later run replaces; newest first.

    A later run replaces a stage if it is the same stage of the same member or ensemble.
    """
    newest: set[tuple[str, ...]] = set()
    open_stages = []
    for record in runs.find_unfinished(since):
        if runs.KIND in record.tags:  # of a member or an ensemble: its stages say the same
            continue
        is_newest = _stage(record) not in newest
        newest.add(_stage(record))
        if record.status == "RUNNING" or (is_newest and not _is_replaced(record)):
            open_stages.append(record)
    return open_stages


def _stage(record: runs.Record) -> tuple[str, ...]:
    return (record.experiment, *(record.tags.get(name, "") for name in STAGE))


def _is_replaced(record: runs.Record) -> bool:
    """Whether a later run of the same stage has finished."""
    tags = {name: record.tags[name] for name in STAGE if name in record.tags}
    later = runs.find_runs(record.experiment, finished=True, **tags)
    return any(run.start > record.start and _stage(run) == _stage(record) for run in later)


def _entry(record: runs.Record) -> dict[str, str | None]:
    tags = record.tags
    return {
        "state": record.status.lower(),
        "experiment": record.experiment,
        "lineup": tags.get(runs.LINEUP),
        "member": tags.get(runs.MEMBER),
        "stage": record.name,
        "progress": tags.get(runs.PROGRESS),
        "host": tags.get(HOST),
        "pid": tags.get(PID, "").partition("@")[0] or None,
        "start": record.start.isoformat(timespec="seconds"),
        "run_id": record.run_id,
        "error": tags.get(runs.ERROR),
    }


def _print_table(records: Sequence[runs.Record], days: float) -> None:
    from rich.console import Console
    from rich.table import Table

    # A file or a pipe has no width, and rich's default would truncate names.
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, overflow="fold")
    for entry in map(_entry, records):
        subject = entry["member"] or "ensemble"
        since = f"{datetime.fromisoformat(str(entry['start'])):%m-%d %H:%M}"
        cells = (entry["state"], entry["experiment"], entry["lineup"], subject, entry["stage"], entry["progress"])
        cells = (*cells, entry["host"], entry["pid"], since, str(entry["run_id"])[:8])
        table.add_row(*(cell or "-" for cell in cells))
    if records:
        console.print(table, markup=False)
    running = sum(record.status == "RUNNING" for record in records)
    for record in records:
        if error := record.tags.get(runs.ERROR):
            console.print(f"{record.run_id[:8]}: {error}", markup=False, highlight=False, soft_wrap=True)
    if waiting := waiting_text():
        print(waiting)
    print(f"{running} running; {len(records) - running} failed or killed in the last {days:g} days")
