"""Ensembles on a tracking server, which hands out artifacts by HTTP and one path at a time."""

import json

import pytest

from scoring.lists.opening import read_submission
from scoring.tracked import stages
from tests.scoring.tracked.test_stages import EXPERIMENT, LINEUP, infer
from tracking import runs


@pytest.fixture
def server(server_process):
    server_process.start()
    return server_process.address


@pytest.fixture
def files(tmp_path):
    return tmp_path


@pytest.mark.frameworks
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
