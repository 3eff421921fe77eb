"""Ensembles on a tracking server, which hands out artifacts by HTTP and one path at a time."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from scoring.lists.opening import read_submission
from scoring.tracked import stages
from tests.scoring.tracked.test_stages import EXPERIMENT, LINEUP, infer
from tracking import runs, store


@pytest.fixture
def server(migrated_store, tmp_path, monkeypatch):
    """A real `mlflow server` with its own database and artifacts, and an empty local folder for downloads."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = tmp_path / "server"
    place.mkdir()
    (place / "mlflow.db").write_bytes(migrated_store.read_bytes())
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{place / 'mlflow.db'}", "--artifacts-destination", str(place / "a")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=1)
                break
            except OSError:
                assert process.poll() is None, (tmp_path / "server.log").read_text()
                time.sleep(0.1)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        monkeypatch.setattr(store, "ROOT", tmp_path)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture
def files(tmp_path):
    return tmp_path


def test_every_stage_of_an_ensemble_works_on_a_server(server, tmp_path, scoring):
    judgments = infer(tmp_path, "holdout")
    judgments.pairs.write_parquet(tmp_path / "judgments.parquet")
    line = ["--experiment", EXPERIMENT, "--lineup", LINEUP]
    rated = ["--judgments", str(tmp_path / "judgments.parquet")]
    assert "netvlad: " in scoring("tracked", "merge", *line)[1]
    searched = scoring("tracked", "optimize", *line, *rated, "--trials", "1", "--out", str(tmp_path / "w.json"))
    assert searched[0] == 0, searched
    asked = scoring("tracked", "optimize", *line, *rated, "--trials", "1", "--json", "--force")
    assert json.loads(asked[1])["trials"] >= 1  # MLflow prints a link to each run on a server
    for out in ("fused.csv", "fused"):
        fuse = ["--split", "holdout", "--out", str(tmp_path / out)]
        assert scoring("tracked", "fuse", *line, *rated, *fuse)[0] == 0
        record = runs.find_run(EXPERIMENT, stage="fuse")
        logged = read_submission(record.artifact("submission.csv")).long()
        assert read_submission(tmp_path / out).long().equals(logged)
        assert stages.fused_lists(record).classes == logged["class_id"].unique().sort().to_list()
