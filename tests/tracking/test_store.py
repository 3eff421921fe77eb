import base64
import json
import os
import re
import subprocess
import sys
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from tracking import metrics
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


@pytest.mark.parametrize(
    ("uri", "database"),
    [
        ("mlruns", "sqlite:///mlruns/mlflow.db"),
        ("./mlruns", "sqlite:///mlruns/mlflow.db"),
        ("../my runs", "sqlite:///../my runs/mlflow.db"),
        ("/data/mlruns", "sqlite:////data/mlruns/mlflow.db"),
        ("file:mlruns", "sqlite:///mlruns/mlflow.db"),
        ("file:/data/mlruns", "sqlite:////data/mlruns/mlflow.db"),
        ("file:///data/my%20runs", "sqlite:////data/my runs/mlflow.db"),
        ("file://localhost/data/mlruns", "sqlite:////data/mlruns/mlflow.db"),
    ],
)
def test_a_folder_of_files_is_refused_with_what_to_set_instead(
    monkeypatch: pytest.MonkeyPatch, uri: str, database: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    sentence = f"MLFLOW_TRACKING_URI={uri} is a folder, .*; set it to a database \\({database}\\) or a server"
    with pytest.raises(ValueError, match=sentence):
        client()


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:",
        "sqlite:mlflow.db",
        "sqlite://",
        "sqlite:///",
        "http:/example.org",
        "ftp://example.org/mlruns",
        "postgres+unknown://example.org/mlflow",
    ],
)
def test_an_address_that_is_no_store_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises((ValueError, RuntimeError), match=f"{re.escape(uri)} .*sqlite:///DIR/mlflow.db"):
        client()


def test_a_file_that_is_no_database_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, though longer than the header of one is" * 4)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/notes.txt")
    with pytest.raises(RuntimeError, match=r"notes\.txt does not answer: file is not a database; check MLFLOW"):
        client()


@pytest.mark.parametrize("uri", ["file:///data/mlruns", "ftp://example.org/mlruns"])
def test_a_command_says_it_in_a_sentence(uri: str) -> None:
    program = "from terminal.cli import main; from tracking.store import reap; main({'reap': reap}, 'x', 'y')"
    done = subprocess.run(
        [sys.executable, "-c", program, "reap"],
        cwd=ROOT,
        env={**os.environ, "MLFLOW_TRACKING_URI": uri},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert f"MLFLOW_TRACKING_URI={uri}" in done.stderr or f"the tracking store {uri}" in done.stderr
    assert "Traceback" not in done.stderr


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
        columns = {column.removeprefix("metrics.").strip("`") for column in state["selectedColumns"]}
        assert metrics.map_of(metrics.MERGED if name == "members" else metrics.ENSEMBLE) in columns
    for name in (metrics.map_of(metrics.MERGED), metrics.map_of(metrics.ENSEMBLE)):
        assert f"`{name}`" in note
    assert f"`{metrics.cross_validated(metrics.ENSEMBLE)}`" in note


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


def test_a_tag_tells_pid_and_start_in_words() -> None:
    tag = describe_process(os.getpid())
    assert tag is not None
    start = datetime.fromtimestamp(psutil.Process().create_time(), UTC)
    assert re.fullmatch(rf"{os.getpid()}@\d+\.\d\d, {start:%Y-%m-%dT%H:%M:%SZ}", tag)


ALIVE = ["now", "the clock was set forward since", "of an earlier version", "of an earlier version without /proc"]


def tags_of_this_process() -> dict[str, str]:
    pid, uptime = os.getpid(), psutil.Process().create_time() - psutil.boot_time()
    start = datetime.fromtimestamp(psutil.Process().create_time(), UTC)
    day = timedelta(days=1)
    return {
        "now": describe_process(pid) or "",
        "the clock was set forward since": f"{pid}@{uptime:.2f}, {start + day:%Y-%m-%dT%H:%M:%SZ}",
        "of an earlier version": f"{pid}@123456",
        "of an earlier version without /proc": f"{pid}",
        "the pid was given again": f"{pid}@{uptime - 60:.2f}, {start:%Y-%m-%dT%H:%M:%SZ}",
        "before the last boot": f"{pid}@{uptime:.2f}, {start - 3650 * day:%Y-%m-%dT%H:%M:%SZ}",
        "no process": "4194305@1.00, 2026-01-01T00:00:00Z",
        "no process, of an earlier version": "4194305@1",
        "no pid": "",
    }


def test_runs_of_live_processes_are_kept_and_those_of_others_reaped(store: str) -> None:
    host, number = os.uname().nodename, experiment_id("synthetic")
    tags = tags_of_this_process()
    for name, tag in tags.items():
        client().create_run(number, tags={"host": host, "pid": tag}, run_name=name)
    reap()
    running = {run.name for run in find_runs("synthetic", finished=False) if run.status == "RUNNING"}
    assert running == set(ALIVE)
