"""What a server answers that a user must do something about, each a sentence at the first command."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import requests

from tracking import store
from tracking.outbox import outboxes
from tracking.stage import Stage
from tracking.store import Away, answers, client, lock


class Answers(BaseHTTPRequestHandler):
    """Answers every request with `status` and `text`, /version with `version`."""

    status, text, version = 200, "{}", "3.17.2"

    def do_GET(self) -> None:
        text = self.version if self.path == "/version" else self.text
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(text.encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def answering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Answers]]:
    """The class whose attributes are the answers of the server in force."""

    class Own(Answers): ...

    monkeypatch.setattr(store, "ROOT", tmp_path)
    with HTTPServer(("127.0.0.1", 0), Own) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_address[1]}")
        try:
            yield Own
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "text", "version", "sentence"),
    [
        (200, "{}", "2.22.1", r"is MLflow 2\.22\.1, which knows no logged models; update it to MLflow 3"),
        (401, "You are not authenticated", "3.17.2", "refuses the user or the password; set MLFLOW_TRACKING_USERNAME"),
        (403, "Invalid Host header - possible", "3.17.2", r"`mlflow server --allowed-hosts 127\.0\.0\.1:\d+`"),
        (403, "Permission denied", "3.17.2", "does not allow this: .*; ask its administrator"),
    ],
)
def test_a_server_that_will_not_do_is_a_sentence_and_not_away(
    answering: type[Answers], tmp_path: Path, status: int, text: str, version: str, sentence: str
) -> None:
    answering.status, answering.text, answering.version = status, text, version
    with pytest.raises(RuntimeError, match=sentence) as error:
        client()
    assert not isinstance(error.value, Away)
    assert list(tmp_path.rglob("*.lock")) == []


@pytest.mark.parametrize("version", ["3.17.2", "4.0.0.dev0", "<html>"])
def test_a_new_server_and_one_of_an_unknown_version_pass(answering: type[Answers], version: str) -> None:
    answering.version = version
    assert client().search_experiments() == []


@pytest.mark.parametrize(("number", "is_mistyped"), [(socket.EAI_NONAME, True), (socket.EAI_AGAIN, False)])
def test_a_host_that_does_not_exist_stops_a_stage_and_one_that_is_not_known_now_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, is_mistyped: bool
) -> None:
    from tests.tracking.test_stage import stage

    def resolve(*_: object, **__: object) -> None:
        raise socket.gaierror(number, "not known")

    monkeypatch.setattr(store, "ROOT", tmp_path)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://mlfow{number}.example.org:5000")
    own: Stage = stage("one")
    if is_mistyped:
        with pytest.raises(RuntimeError, match=r"there is no host mlfow.*\.example\.org, which .*; correct the name"):
            own.run_once(False, lambda: pytest.fail("the stage has begun"))
        return
    assert own.done(force=False) is None
    with own.open() as opened:
        opened.run.metrics({"loss": 1.0})
    assert [box.waits for box in outboxes()] == [True]


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (413, RuntimeError, "refuses a file of this size; raise its limit"),
        (502, Away, "does not answer"),
        (None, Away, "does not answer"),
    ],
)
def test_an_artifact_that_is_not_taken_is_a_sentence(
    error: int | None, kind: type[Exception], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "SILENCE", 0)
    response = requests.Response()
    response.status_code = error or 0
    raised = requests.HTTPError("refused", response=response) if error else requests.ReadTimeout("no answer")
    with pytest.raises(RuntimeError, match=sentence) as got, answers():
        raise raised
    assert type(got.value) is kind


def test_a_lock_is_a_file_only_as_long_as_it_is_held(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with lock(path, waiting=lambda: pytest.fail("nobody else has it")):
        assert path.exists()

        def wait() -> None:
            raise RuntimeError("somebody has it")

        with pytest.raises(RuntimeError, match="somebody has it"), lock(path, waiting=wait):
            pass
    assert not path.exists()
