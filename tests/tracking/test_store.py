import base64
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import zlib
from contextlib import closing
from pathlib import Path

import pytest

from tracking import metrics
from tracking.runs import get_run
from tracking.store import ROOT, client, experiment_id, local_folder, tracking_uri
from tracking.writing import open_run


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
    with pytest.raises(RuntimeError, match=r"notes\.txt cannot be read or written: file is not a database; MLFLOW_T"):
        client()


@pytest.mark.parametrize("uri", ["file:///data/mlruns", "ftp://example.org/mlruns"])
def test_a_command_says_it_in_a_sentence(uri: str) -> None:
    program = "from terminal.cli import main; from tracking.writing import reap; main({'reap': reap}, 'x', 'y')"
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
    assert note.startswith("Results on **synthetic**: [runs]")
    assert tags["mlflow.experimentKind"] == "custom_model_development"  # else the UI asks for it
    searches = {
        "runs": "",
        "members": "tags.kind = 'member'",
        "ensembles": "tags.kind != 'member' AND tags.kind != 'dataset'",
    }
    for name, search in searches.items():
        assert f"(#/experiments/{number}/runs?viewStateShareKey={name}&" in note
        view = json.loads(tags[f"mlflow.sharedViewState.{name}"])
        state = json.loads(zlib.decompress(base64.b64decode(view["state"].removeprefix("deflate;"))))
        assert state["searchFilter"] == search
        client().search_runs([number], search)  # MLflow understands it
        assert max(len(column.partition(".")[2].strip("`")) for column in state["selectedColumns"]) <= 13
        columns = {column.removeprefix("metrics.").strip("`") for column in state["selectedColumns"]}
        assert metrics.map_of(metrics.ENSEMBLE if name == "ensembles" else metrics.MERGED) in columns
    for name in (metrics.map_of(metrics.MERGED), metrics.map_of(metrics.ENSEMBLE)):
        assert f"`{name}`" in note
    assert f"`{metrics.cross_validated(metrics.ENSEMBLE)}`" in note


def test_a_deleted_experiment_is_an_error_with_the_remedy(store: str) -> None:
    client().delete_experiment(experiment_id("synthetic"))
    with pytest.raises(ValueError, match="mlflow experiments restore"):
        experiment_id("synthetic")


PASSWORD = "s3cr3t"


@pytest.fixture
def secret_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")  # undone after the test
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://anna:{PASSWORD}@127.0.0.1:9/mlflow")


@pytest.mark.usefixtures("secret_server")
def test_a_password_is_given_to_mlflow_apart_from_the_address() -> None:
    assert tracking_uri() == "http://127.0.0.1:9/mlflow"
    with pytest.raises(RuntimeError, match=r"127\.0\.0\.1:9/mlflow does not answer") as failed:
        client()
    assert PASSWORD not in str(failed.value)
    given = (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"])
    assert given == ("anna", PASSWORD)


@pytest.mark.parametrize(
    "uri",
    [
        f"postgresql://anna:{PASSWORD}@127.0.0.1:9/mlflow",
        f"postgres+unknown://anna:{PASSWORD}@127.0.0.1:9/mlflow",
        f"ftp://anna:{PASSWORD}@example.org/mlruns",
        f"sqlite://anna:{PASSWORD}@example.org",
        f"http://anna:{PASSWORD}/x@127.0.0.1:9",
    ],
)
def test_no_error_shows_a_password(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises((RuntimeError, ValueError)) as failed:
        client()
    assert PASSWORD not in str(failed.value)


def test_the_tags_of_a_run_show_no_password(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"http://anna:{PASSWORD}@example.org"
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "training", address])
    with pytest.raises(ValueError, match="does not answer"), open_run("synthetic", "x", {}) as run:
        raise ValueError(f"{address} does not answer")
    tags = client().get_run(run.run_id).data.tags
    assert tags["error"] == "ValueError: http://***@example.org does not answer"
    assert tags["command"] == "python -m training http://***@example.org"
    assert PASSWORD not in str(tags)


@pytest.mark.parametrize("is_copied", [True, False])
def test_a_store_that_was_moved_or_copied_has_its_artifacts_next_to_the_database(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_copied: bool
) -> None:
    old, new = tmp_path / "mlruns", tmp_path / "other place" / "mlruns"
    with open_run("synthetic", "before", {}) as before:
        before.text("x", "folder/a.txt")
    new.parent.mkdir()
    (shutil.copytree if is_copied else shutil.move)(old, new)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{new / 'mlflow.db'}")
    assert get_run(before.run_id).artifact("folder/a.txt").is_relative_to(new)  # a reader writes nothing
    assert str(client().get_run(before.run_id).info.artifact_uri).startswith(old.as_uri())
    files = sorted(old.rglob("*.txt"))
    with open_run("synthetic", "after", {}) as after:
        after.text("y", "b.txt")
    for run, name in ((before, "folder/a.txt"), (after, "b.txt")):
        root = (new / "artifacts/synthetic" / run.run_id / "artifacts").as_uri()
        assert client().get_run(run.run_id).info.artifact_uri == root
        assert get_run(run.run_id).artifact(name).is_relative_to(new)
    assert sorted(old.rglob("*.txt")) == files
    with closing(sqlite3.connect(new / "mlflow.db")) as connection:
        assert old.as_uri() not in "".join(connection.iterdump())


def test_artifacts_that_were_put_elsewhere_stay_there(store: str, tmp_path: Path) -> None:
    (tmp_path / "disk" / "artifacts").mkdir(parents=True)
    elsewhere = (tmp_path / "disk" / "artifacts" / "synthetic").as_uri()
    client().create_experiment("synthetic", artifact_location=elsewhere)
    with open_run("synthetic", "x", {}) as run:
        run.text("x", "a.txt")
    assert get_run(run.run_id).artifact_uri == f"{elsewhere}/{run.run_id}/artifacts"
    assert get_run(run.run_id).artifact("a.txt").read_text() == "x"
