import os
import sys

import pytest

from tracking.commands.ui import ui
from tracking.store import client
from tracking.writing import open_run


def test_the_ui_starts_on_the_store_and_each_dataset_has_an_address(
    store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("audioset", "synthetic"):
        with open_run(name, "run", {}):
            pass
    started = []
    monkeypatch.setattr(os, "execve", lambda *arguments: started.append(arguments))
    ui(port=5099)
    ((program, command, environment),) = started
    assert program == sys.executable
    assert command[-4:] == ["--port", "5099", "--backend-store-uri", store]
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    printed = capsys.readouterr().out
    for name in ("audioset", "synthetic"):
        experiment = client().get_experiment_by_name(name)
        assert experiment is not None
        assert f"{name}: http://127.0.0.1:5099/#/experiments/{experiment.experiment_id}/runs?" in printed
    assert "Default" not in printed


def test_a_server_has_its_own_ui(
    store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_run("synthetic", "run", {}):
        pass
    known = client()
    monkeypatch.setattr("tracking.commands.ui.tracking_uri", lambda: "https://example.org/mlflow")
    monkeypatch.setattr("tracking.store.tracking_uri", lambda: "https://example.org/mlflow")
    monkeypatch.setattr("tracking.commands.ui.client", lambda: known)
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("no UI is started"))
    ui()
    assert "synthetic: https://example.org/mlflow/#/experiments/" in capsys.readouterr().out
