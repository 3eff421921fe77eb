"""Reads runs from a SQLite store without MLflow, whose import and classes take seconds in every process.

Tables and columns are those of MLflow 3; a test compares what is read here with what MLflow reads. The file is opened
read-only, so reading also works where nothing may be written, and creates no store.
"""

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from math import nan
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

TIMEOUT = 20.0  # seconds to wait for a writer, as MLflow does
ACTIVE = "r.lifecycle_stage = 'active' AND e.lifecycle_stage = 'active'"
DELETED = "r.lifecycle_stage = 'deleted' AND e.lifecycle_stage = 'active'"
COLUMNS = "r.run_uuid, r.experiment_id, e.name, r.name, r.status, r.start_time, r.end_time, r.artifact_uri"
NAN_AS_NULL = "CASE WHEN is_nan THEN NULL ELSE value END"


class Row(NamedTuple):
    """A run as the store has it; times are in milliseconds since 1970."""

    run_id: str
    experiment_id: str
    experiment: str
    name: str | None
    status: str
    start: int
    end: int | None
    artifact_uri: str | None
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]


def read_rows(
    file: Path, experiment: str | None, attribute: str, tags: Mapping[str, str], is_deleted: bool = False
) -> list[Row]:
    """The runs with these tags that are not deleted, or those that are, newest first; none if there is no file.

    Args:
        file: The database.
        experiment: The name of an experiment, None for all.
        attribute: A condition on the run as MLflow's filters have it (`attributes.status = 'FINISHED'`), or "".
        tags: Tags that a run must have.
    """
    has_tag = "r.run_uuid IN (SELECT run_uuid FROM tags WHERE key = ? AND value = ?)"
    conditions = [DELETED if is_deleted else ACTIVE, *[has_tag] * len(tags)]
    values = [text for tag in tags.items() for text in tag]
    if attribute:
        conditions.append(attribute.replace("attributes.", "r."))
    if experiment is not None:
        conditions.append("e.name = ?")
        values.append(experiment)
    return _rows(file, conditions, values)


def read_row(file: Path, run_id: str) -> Row | None:
    """The run with this id, also a deleted one; None if the store has none."""
    rows = _rows(file, ["r.run_uuid = ?"], [run_id])
    return rows[0] if rows else None


def is_active(file: Path, run_id: str) -> bool:
    """Whether the store has the run, not deleted."""
    return bool(_rows(file, ["r.run_uuid = ?", ACTIVE], [run_id]))


def read_locations(file: Path) -> list[str]:
    """Where each experiment has its artifacts; none if there is no file."""
    with _opened(file) as store:
        rows = [] if store is None else store.execute("SELECT artifact_location FROM experiments").fetchall()
    return [location for (location,) in rows if location]


def _rows(file: Path, conditions: Sequence[str], values: Sequence[str]) -> list[Row]:
    query = f"""SELECT {COLUMNS} FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id
        WHERE {" AND ".join(conditions)} ORDER BY r.start_time DESC, r.run_uuid"""
    with _opened(file) as store:
        if store is None:
            return []
        store.execute("BEGIN")  # all four queries see the same moment
        runs = store.execute(query, values).fetchall()
        ids = json.dumps([run[0] for run in runs])
        contents: list[dict[str, dict]] = []
        for table, value in (("tags", "value"), ("params", "value"), ("latest_metrics", NAN_AS_NULL)):
            by_run: dict[str, dict] = {run[0]: {} for run in runs}
            rows = f"SELECT run_uuid, key, {value} FROM {table} WHERE run_uuid IN (SELECT value FROM json_each(?))"
            for run_id, key, content in store.execute(rows, (ids,)):
                by_run[run_id][key] = nan if content is None else content
            contents.append(by_run)
    return [Row(run[0], str(run[1]), *run[2:], *(by_run[run[0]] for by_run in contents)) for run in runs]


def read_points(file: Path, run_id: str, metric: str) -> list[tuple[int, float, int]]:
    """All logged values of a metric of a run: step, value, time."""
    query = f"SELECT step, {NAN_AS_NULL}, timestamp FROM metrics WHERE run_uuid = ? AND key = ?"
    with _opened(file) as store:
        points = [] if store is None else store.execute(query, (run_id, metric)).fetchall()
    return [(step, nan if value is None else value, time) for step, value, time in points]


def read_tag_values(file: Path, key: str) -> list[tuple[str, str]]:
    """Each experiment and value of a tag among the runs that are not deleted, that of the newest run first."""
    query = f"""SELECT e.name, t.value FROM tags t JOIN runs r ON r.run_uuid = t.run_uuid
        JOIN experiments e ON e.experiment_id = r.experiment_id
        WHERE t.key = ? AND {ACTIVE} GROUP BY e.name, t.value ORDER BY max(r.start_time) DESC"""
    with _opened(file) as store:
        return [] if store is None else store.execute(query, (key,)).fetchall()


@contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection | None]:
    """The database, None if there is none; RuntimeError if it cannot be read."""
    if not file.exists():
        yield None
        return
    # In a folder that cannot be written, SQLite opens a database in WAL mode only if told that nobody writes to it.
    is_frozen = not os.access(file.parent, os.W_OK) and not file.with_name(f"{file.name}-wal").exists()
    address = f"file:{quote(str(file))}?mode=ro{'&immutable=1' if is_frozen else ''}"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=TIMEOUT, isolation_level=None)) as store:
            yield store
    except sqlite3.Error as error:
        raise RuntimeError(
            f"the tracking store sqlite:///{file} cannot be read: {error}; check the file, and try again"
        ) from error
