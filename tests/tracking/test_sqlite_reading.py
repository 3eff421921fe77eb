"""Runs read straight from the SQLite file are those that MLflow reads."""

import os
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.entities import ViewType

from tracking import runs
from tracking.runs import find_runs, line_ups, metric_history
from tracking.store import client, experiment_id
from tracking.writing import open_parent, open_run


@pytest.fixture
def mixed(store: str) -> str:
    """A store with runs of every status, a deleted run and a deleted experiment, and unusual contents."""
    with open_parent("synthetic", "o'neill", {"kind": "member", "member": "o'ne\"ill", "lineup": "demo"}) as parent:
        with open_run("synthetic", "finetune", {"stage": "finetune", "text": "a\nb 🎯 <b>"}, parent.run_id) as run:
            run.params({"rate": 1e-3, "empty": ""})
            for step, value in enumerate((0.5, float("nan"), float("inf"), -1e300)):
                run.metrics({"loss": value, "best": 0.5}, step)
        with (
            pytest.raises(ValueError, match="broke"),
            open_run("synthetic", "infer", {"stage": "infer"}, parent.run_id),
        ):
            raise ValueError("it broke")
    with open_parent("audioset", "other", {"kind": "member", "member": "other", "lineup": "second"}):
        pass
    with open_run("audioset", "gone", {"lineup": "removed"}) as gone:
        pass
    client().delete_run(gone.run_id)
    with open_run("old", "in a deleted experiment", {"lineup": "old"}):
        pass
    client().delete_experiment(experiment_id("old"))
    client().create_run(experiment_id("synthetic"), tags={"lineup": "demo"})  # RUNNING
    return store


def test_every_run_is_what_mlflow_reads(mixed: str) -> None:
    names = {experiment.experiment_id: experiment.name for experiment in client().search_experiments()}
    asked = client().search_runs(list(names), run_view_type=ViewType.ACTIVE_ONLY)
    expected = [runs._record(runs._row(run, names[run.info.experiment_id])) for run in asked]
    read = find_runs(finished=False)
    assert len(read) == 5
    assert {run.status for run in read} == {"FINISHED", "FAILED", "RUNNING"}
    assert sorted(map(repr, read)) == sorted(map(repr, expected))  # as text, in which nan is nan
    assert [run.start for run in read] == sorted((run.start for run in read), reverse=True)


def test_a_filter_finds_what_mlflow_finds(mixed: str) -> None:
    tags = {"member": "o'ne\"ill", "lineup": "demo"}
    assert [run.name for run in find_runs("synthetic", finished=False, kind="member", **tags)] == ["o'neill"]
    assert find_runs("audioset", finished=False, **tags) == []
    assert {run.status for run in find_runs("synthetic")} == {"FINISHED"}
    assert find_runs("nowhere") == []


def test_a_history_is_what_mlflow_reads(mixed: str) -> None:
    (run,) = find_runs("synthetic", stage="finetune")
    points = sorted((point.step, repr(point.value)) for point in client().get_metric_history(run.run_id, "loss"))
    history = metric_history(run.run_id, "loss")
    assert [(step, repr(value)) for step, value in history.select("step", "value").rows()] == points
    assert metric_history(run.run_id, "never logged").is_empty()


def test_line_ups_are_those_of_runs_that_are_not_deleted(mixed: str) -> None:
    assert line_ups() == {"synthetic": ["demo"], "audioset": ["second"]}


def test_reading_makes_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'none' / 'mlflow.db'}")
    assert find_runs() == []
    assert line_ups() == {}
    assert metric_history("0123", "loss").is_empty()
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_store_is_an_error_in_a_sentence(store: str, tmp_path: Path) -> None:
    with open_run("synthetic", "infer", {}):
        pass
    file = tmp_path / "mlruns" / "mlflow.db"
    file.write_bytes(b"no database at all" * 1000)
    for question in (find_runs, line_ups, lambda: metric_history("0123", "loss")):
        with pytest.raises(RuntimeError, match=r"sqlite:///.*mlflow\.db cannot be read: file is not a database; check"):
            question()


def test_a_store_in_a_folder_that_cannot_be_written_is_read(
    mixed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {run.run_id for run in find_runs(finished=False)}
    file = tmp_path / "mlruns" / "mlflow.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    frozen = tmp_path / "of somebody else?" / "mlflow.db"
    frozen.parent.mkdir()
    shutil.copy(file, frozen)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{frozen}")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    assert {run.run_id for run in find_runs(finished=False)} == expected
    assert [path.name for path in frozen.parent.iterdir()] == ["mlflow.db"]


def test_eight_writers_and_a_reader_do_not_lock_each_other_out(store: str) -> None:
    def write(number: int) -> str:
        with open_run("synthetic", f"writer {number}", {"lineup": f"{number}"}) as run:
            for step in range(10):
                run.metrics({"loss": 1 / (1 + step)}, step)
                run.flush()
        return run.run_id

    experiment_id("synthetic")
    with ThreadPoolExecutor(8) as writers:
        written = [writers.submit(write, number) for number in range(8)]
        while not all(writer.done() for writer in written):
            assert len(find_runs(finished=False)) <= 8
            assert set(line_ups()) <= {"synthetic"}
    for writer in written:
        assert metric_history(writer.result(), "loss")["step"].to_list() == list(range(10))
