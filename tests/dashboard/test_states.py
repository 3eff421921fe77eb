"""Every page in every state of the store: a page or a sentence, never a traceback, and nothing is written."""

import http.server
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from tests.dashboard.searched import EXPERIMENT, LINEUP
from tests.dashboard.test_pages import APP, opened, words
from tracking import metrics
from tracking.commands.export import export
from tracking.commands.lineage import lineage
from tracking.commands.reproduce import reproduce
from tracking.commands.status import status
from tracking.runs import find_runs
from tracking.store import artifacts_folder, ask_again, client
from tracking.writing import open_parent

PAGES = sorted(path.stem for path in (APP.parent / "views").glob("*.py") if path.stem != "__init__")
HOSTILE = "<script>alert(1)</script> **bold** [x](http://x) $y$ :smile: " + "x" * 440


def artifacts() -> list[Path]:
    folder = artifacts_folder()
    assert folder is not None
    return [file for file in folder.rglob("*") if file.is_file()]


def without_artifacts() -> None:
    for file in artifacts():
        file.unlink()


def with_cut_artifacts() -> None:
    for file in artifacts():
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def without_trials() -> None:
    for file in artifacts():
        if file.name == "trials.parquet":
            file.unlink()


def without_search() -> None:
    for run in find_runs(EXPERIMENT, stage="optimize"):
        client().delete_run(run.run_id)


def without_ensemble() -> None:
    for run in find_runs(EXPERIMENT, finished=False, kind="ensemble"):
        client().delete_run(run.run_id)


def without_a_member() -> None:
    client().delete_run(find_runs(EXPERIMENT, kind="member")[0].run_id)


def with_failures() -> None:
    for run in find_runs(EXPERIMENT):
        client().set_terminated(run.run_id, "FAILED")


STATES: list[Callable[[], None]] = [
    without_artifacts,
    with_cut_artifacts,
    without_trials,
    without_search,
    without_ensemble,
    without_a_member,
    with_failures,
]


def visited(app: AppTest) -> Iterator[str]:
    """Each page of a running dashboard, one after another."""
    for page in PAGES:
        app.switch_page(f"views/{page}.py").run()
        assert not app.exception, (page, app.exception)
        yield page


@pytest.mark.slow
@pytest.mark.parametrize("change", STATES)
def test_a_line_up_that_lost_something_is_shown_as_far_as_it_goes(searched: str, change: Callable[[], None]) -> None:
    change()
    st.cache_data.clear()
    app = opened(dataset=EXPERIMENT, lineup=LINEUP)
    before = {path: path.read_bytes() for path in Path(searched.removeprefix("sqlite:///")).parent.glob("*.db")}
    for page in visited(app):
        assert app.title, page
        assert not app.error, (page, app.error)
    after = {path: path.read_bytes() for path in before}
    assert before == after


@pytest.mark.slow
def test_pages_and_reading_commands_need_no_permission_to_write(
    searched: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("MLflow opens a store in a way that may write to it")

    monkeypatch.setattr("tracking.store._open", refuse)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    folder = Path(searched.removeprefix("sqlite:///")).parent

    def changes() -> dict[Path, int]:
        """When each file was changed, but for the memory that the readers of an SQLite file share."""
        return {file: file.stat().st_mtime_ns for file in folder.rglob("*") if not file.name.endswith("-shm")}

    files = changes()
    app = opened(dataset=EXPERIMENT, lineup=LINEUP)
    for page in visited(app):
        assert not app.error, (page, app.error)
    fused = find_runs(EXPERIMENT, stage="fuse")[0].run_id
    status()
    lineage(fused)
    reproduce(fused)
    export(tmp_path / "runs.csv")
    assert fused in (tmp_path / "runs.csv").read_text()
    assert changes() == files


@pytest.mark.slow
@pytest.mark.parametrize("lineup", ["audioset", HOSTILE])
def test_a_line_up_that_is_only_begun_is_shown_on_every_page(seeded: str, lineup: str) -> None:
    tags = {"kind": "member", "member": HOSTILE, "lineup": lineup[:490], "dataset": "audioset"}
    with open_parent("audioset", HOSTILE[:250], tags) as parent:
        parent.metrics({metrics.map_of(metrics.FINETUNED): 0.5})
    st.cache_data.clear()
    app = opened(dataset="audioset", lineup=lineup[:490])
    for page in visited(app):
        assert app.title, page
        for element in [*app.title, *app.subheader, *app.markdown, *app.caption, *app.info, *app.warning]:
            assert "<script>" not in element.value, page
            assert "**bold** [x](" not in element.value, page


class Refusing(http.server.BaseHTTPRequestHandler):
    """A server that lets nobody in."""

    def answer(self) -> None:
        self.send_response(403)
        self.end_headers()
        self.wfile.write(b"Invalid Host header")

    do_GET = do_POST = answer

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def refusing() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_server_that_refuses_is_a_sentence_on_every_page(refusing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", refusing.replace("http://", "http://ann:s3cr3t@"))
    ask_again()
    app = opened()
    for page in visited(app):
        assert "start it with `mlflow server --allowed-hosts 127.0.0.1:" in app.error[0].value, page
        assert "s3cr3t" not in app.error[0].value, page


def test_a_server_that_is_away_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens there
    ask_again()
    assert "does not answer" in opened().error[0].value


def test_an_empty_store_is_a_welcome_on_every_page_and_stays_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    app = opened()
    for page in visited(app):
        assert [title.value for title in app.title] == ["Nothing has run yet"], page
        assert "make demo" in words(app)
    assert list(tmp_path.iterdir()) == []
