import base64
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from tracking.runs import find_runs
from tracking.store import ROOT, client, describe_process, experiment_id, local_folder, reap, tracking_uri
from tracking.writing import open_run

FIRST_ACCESS = """
import sys
from tracking.writing import open_run
with open_run("synthetic", sys.argv[1], {"stage": "ingest"}) as run:
    run.metrics({"videos": 3.0})
"""


def test_the_default_store_is_sqlite_under_mlruns_wherever_one_stands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert tracking_uri() == f"sqlite:///{ROOT}/mlruns/mlflow.db"
    assert local_folder() == ROOT / "mlruns"


def test_a_relative_sqlite_path_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs/mlflow.db")
    assert tracking_uri() == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert local_folder() == tmp_path / "runs"


def test_a_server_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org")
    assert tracking_uri() == "https://mlflow.example.org"
    assert local_folder() == ROOT / "mlruns"


@pytest.mark.parametrize("uri", ["mlruns", "./mlruns", "file:mlruns"])
def test_a_folder_of_files_is_refused_with_what_to_set_instead(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(ValueError, match="sqlite:///"):
        tracking_uri()


def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RuntimeError, match=r"127\.0\.0\.1:9 does not answer"):
        client()


def test_artifacts_lie_beside_the_database(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    first = experiment_id("audio set/2")
    assert first == experiment_id("audio set/2")
    assert client().get_experiment(first).artifact_location == (tmp_path / "mlruns/artifacts/audio-set-2").as_uri()


def test_an_experiment_explains_itself_and_has_views_with_the_columns_that_matter(store: str) -> None:
    number = experiment_id("synthetic")
    tags = client().get_experiment(number).tags
    note = tags["mlflow.note.content"]
    assert note.startswith("Results on **synthetic**: [members]")
    for name in ("members", "ensembles"):
        assert f"(#/experiments/{number}/runs?viewStateShareKey={name}&" in note
        view = json.loads(tags[f"mlflow.sharedViewState.{name}"])
        state = json.loads(zlib.decompress(base64.b64decode(view["state"].removeprefix("deflate;"))))
        assert state["searchFilter"] == f"tags.kind = '{name.removesuffix('s')}'"
        assert any("map_at_100k" in column for column in state["selectedColumns"])


def test_a_deleted_experiment_is_an_error_with_the_remedy(store: str) -> None:
    client().delete_experiment(experiment_id("synthetic"))
    with pytest.raises(ValueError, match="mlflow experiments restore"):
        experiment_id("synthetic")


def test_four_processes_start_at_once_on_a_store_that_is_not_there_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/fresh/mlflow.db")
    processes = [
        subprocess.Popen([sys.executable, "-c", FIRST_ACCESS, f"start {number}"], cwd=ROOT, stderr=subprocess.PIPE)
        for number in range(4)
    ]
    errors = [process.communicate()[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, errors
    assert {run.name for run in find_runs("synthetic")} == {"start 0", "start 1", "start 2", "start 3"}


def test_a_killed_process_leaves_no_run_running(store: str) -> None:
    with open_run("synthetic", "alive", {}) as run:
        gone = client().create_run(
            experiment_id("synthetic"), tags={"host": os.uname().nodename, "pid": "4194305@1"}, run_name="gone"
        )
        elsewhere = client().create_run(experiment_id("synthetic"), tags={"host": "another", "pid": "1@1"})
        assert reap() == [gone.info.run_id]
        statuses = {found.run_id: found.status for found in find_runs("synthetic", finished=False)}
    assert statuses[run.run_id] == statuses[elsewhere.info.run_id] == "RUNNING"
    assert statuses[gone.info.run_id] == "KILLED"


def test_a_pid_given_again_is_another_process() -> None:
    ours = describe_process(os.getpid())
    assert ours is not None
    assert ours == describe_process(os.getpid())
    assert ours != describe_process(os.getppid())
    assert describe_process(4194305) is None
