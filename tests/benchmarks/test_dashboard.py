"""The benchmark of the dashboard, on a small store."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.dashboard import measure


@pytest.mark.slow
def test_the_pages_are_timed_on_a_generated_store(tmp_path: Path) -> None:
    speed = measure(tmp_path, runs=150, classes=8, judged=150)
    assert speed.cold_s > speed.first_page_s > 0
    assert speed.what_if_ms > 0
    assert speed.peak_mib > 100
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        ids, line_ups = (
            store.execute("SELECT COUNT(DISTINCT run_uuid) FROM runs").fetchone()[0],
            store.execute("SELECT COUNT(DISTINCT value) FROM tags WHERE key = 'lineup'").fetchone()[0],
        )
        orphans = store.execute(
            "SELECT COUNT(*) FROM tags WHERE key = 'mlflow.parentRunId' AND value NOT IN (SELECT run_uuid FROM runs)"
        ).fetchone()[0]
    assert ids >= 150
    assert line_ups == ids // 49
    assert orphans == 0
