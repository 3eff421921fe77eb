import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from tracking import runs
from tracking.runs import find_run, find_runs, get_run, line_ups, metric_history
from tracking.store import client
from tracking.writing import open_run


def test_artifacts_are_read_in_place(store: str, tmp_path: Path) -> None:
    with open_run("synthetic", "infer", {}) as run:
        run.text("x", "a.txt")
    assert get_run(run.run_id).artifact("a.txt").is_relative_to(tmp_path / "mlruns" / "artifacts" / "synthetic")
    with pytest.raises(ValueError, match=r"no artifact predictions/shift0\.parquet; make it again: `py.* --force`"):
        get_run(run.run_id).artifact("predictions/shift0.parquet")


@pytest.mark.parametrize(
    "root", ["mlflow-artifacts:/7/0123/artifacts", "s3://bucket/7/0123/artifacts", "https://example.org/7/artifacts"]
)
def test_artifacts_of_a_server_are_downloaded_once(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    asked: list[str] = []

    def download(artifact_uri: str, dst_path: str, tracking_uri: str) -> str:
        """As MLflow's: the last part of the address, in `dst_path`; returns where it is."""
        asked.append(artifact_uri)
        assert tracking_uri == store
        path = Path(dst_path) / artifact_uri.rpartition("/")[2]
        path.write_text(artifact_uri)
        return str(path)

    monkeypatch.setattr("mlflow.artifacts.download_artifacts", download)
    with open_run("synthetic", "infer", {}) as run:
        pass
    record = replace(get_run(run.run_id), artifact_uri=root)
    for _ in range(2):
        path = record.artifact("predictions/shift0.parquet")
        assert path == tmp_path / "mlruns" / "downloads" / run.run_id / "predictions" / "shift0.parquet"
        assert path.read_text() == f"{root}/predictions/shift0.parquet"
    assert asked == [f"{root}/predictions/shift0.parquet"]
    assert [file.name for file in path.parent.iterdir()] == ["shift0.parquet"]


def test_a_download_that_fails_leaves_nothing_and_says_what_to_check(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(artifact_uri: str, dst_path: str, tracking_uri: str) -> str:
        (Path(dst_path) / "half").write_text("half of it")
        raise OSError("the connection was lost")

    monkeypatch.setattr("mlflow.artifacts.download_artifacts", fail)
    with open_run("synthetic", "infer", {}) as run:
        pass
    record = replace(get_run(run.run_id), artifact_uri="mlflow-artifacts:/7/0123/artifacts")
    with pytest.raises(ValueError, match=r"artifacts/a\.txt cannot be downloaded: the connection was lost; check that"):
        record.artifact("a.txt")
    assert list((tmp_path / "mlruns" / "downloads" / run.run_id).iterdir()) == []


def test_finding_by_tags_gives_the_newest_finished(store: str) -> None:
    for name in ("first", "second"):
        with open_run("synthetic", name, {"stage": "finetune", "member": "o'neill"}):
            pass
    with open_run("audioset", "other data", {"stage": "finetune", "member": "o'neill"}):
        pass
    with open_run("synthetic", "still open", {"stage": "finetune", "member": "o'neill"}):
        assert find_run("synthetic", stage="finetune", member="o'neill").name == "second"
        assert len(find_runs("synthetic", finished=False, stage="finetune")) == 3
        assert [run.name for run in find_runs(member="o'neill")] == ["other data", "second", "first"]
    assert find_runs("nowhere") == []


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (
            {"stage": "finetune", "member": "netvlad"},
            "no finished finetune run for netvlad .*`python -m training finetune netvlad --lineup NAME --data DIR`",
        ),
        (
            {"stage": "optimize", "lineup": "demo"},
            "with lineup=demo; run "
            "`python -m scoring tracked optimize --experiment synthetic --lineup demo --judgments FILE`",
        ),
        (
            {"stage": "infer", "member": "netvlad", "lineup": "demo", "split": "test"},
            "`python -m training infer netvlad --lineup demo --data DIR --split test`",
        ),
        (
            {"kind": "ensemble"},
            "no finished ensemble run in the experiment synthetic.*`python -m training run --lineup NAME --data DIR`",
        ),
    ],
)
def test_a_missing_run_names_the_command_that_makes_it(store: str, tags: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_run("synthetic", **tags)


def test_an_unknown_run_is_an_error_in_a_sentence(store: str) -> None:
    with pytest.raises(ValueError, match="has no run 0123"):
        get_run("0123")


def test_the_history_of_a_metric_keeps_the_last_value_of_a_step_that_was_repeated(store: str) -> None:
    with open_run("synthetic", "finetune", {}) as run:
        for step, value in ((0, 0.9), (20, 0.7), (40, 0.6), (20, 0.65), (40, 0.5), (60, 0.4)):
            run.metrics({"loss": value, "map": 1 - value}, step)
            run.flush()
            time.sleep(0.002)  # times are stored in milliseconds
    history = metric_history(run.run_id, "loss")
    assert history.select("step", "value").rows() == [(0, 0.9), (20, 0.65), (40, 0.5), (60, 0.4)]
    assert metric_history(run.run_id, "never logged").is_empty()


def refuse(*arguments: object, **named: object) -> None:
    raise MlflowException("connection to https://anna:s3cr3t@example.org refused")


@pytest.mark.parametrize(
    ("method", "question"),
    [
        ("search_experiments", lambda: find_runs("synthetic")),
        ("search_runs", lambda: find_runs("synthetic")),
        ("get_metric_history", lambda: metric_history("0123", "loss")),
        ("search_runs", line_ups),
    ],
)
def test_a_store_that_stops_answering_is_an_error_in_a_sentence(
    store: str, monkeypatch: pytest.MonkeyPatch, method: str, question: Callable[[], object]
) -> None:
    with open_run("synthetic", "infer", {}):
        pass
    monkeypatch.setattr(runs, "sqlite_file", lambda: None)  # read as from another database, by MLflow
    monkeypatch.setattr(client(), method, refuse)
    with pytest.raises(
        RuntimeError, match=r"cannot be read or written: connection to .* refused; if it is damaged"
    ) as error:
        question()
    assert "s3cr3t" not in str(error.value)


def test_line_ups_are_the_same_of_every_kind_of_store(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for experiment, lineup, kind in (("a", "one", "member"), ("b", "one", "member"), ("a", "two", "ensemble")):
        with open_run(experiment, "parent", {"kind": kind, "lineup": lineup}):
            time.sleep(0.002)  # times are stored in milliseconds
    by_sql = line_ups()
    assert list(by_sql.items()) == [("a", ["two", "one"]), ("b", ["one"])]
    monkeypatch.setattr(runs, "sqlite_file", lambda: None)
    assert list(line_ups().items()) == list(by_sql.items())
