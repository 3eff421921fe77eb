"""What a server that is away has missed: here it is a SQLite store whose writes fail for a while."""

from typing import Any

import pytest

from tests.tracking.test_stage import stage
from tracking import operations
from tracking.outbox import outbox_folder, outboxes, send_waiting
from tracking.runs import find_runs, get_run
from tracking.stage import OpenStage
from tracking.store import Away, client
from tracking.writing import open_run


def work_without_server(monkeypatch: pytest.MonkeyPatch) -> OpenStage:
    """A stage whose store is away from the opening of its run to its end."""

    def fail(*_: Any, **__: Any) -> None:
        raise Away("the server is away")

    with monkeypatch.context() as patch, stage("one").open() as opened:
        patch.setattr(operations, "apply", fail)
        opened.run.params({"layers": 2})
        for step in range(3):
            opened.run.metrics({"loss": 1 / (step + 1)}, step)
        opened.run.text("hello", "notes/hello.txt")
        opened.headline({"map": 0.5})
    return opened


@pytest.mark.usefixtures("store")
def test_what_a_server_has_missed_is_kept_and_sent_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened = work_without_server(monkeypatch)
    waiting = opened.record()
    assert (waiting.status, waiting.params, waiting.metrics) == (
        "FINISHED",
        {"layers": "2"},
        {"loss": 1 / 3, "map": 0.5},
    )
    assert waiting.artifact("notes/hello.txt").read_text() == "hello"
    assert "is sent by the next command or by `python -m tracking sync`" in caplog.text
    assert [run.status for run in find_runs("toy", finished=False)] == ["RUNNING", "RUNNING"]

    assert (send_waiting(), send_waiting()) == (1, 0)
    run = get_run(opened.run.run_id)
    assert (run.status, run.params, run.metrics) == ("FINISHED", waiting.params, waiting.metrics)
    assert run.artifact("notes/hello.txt").read_text() == "hello"
    assert [point.step for point in client().get_metric_history(run.run_id, "loss")] == [0, 1, 2]
    assert run.parent is not None
    assert (get_run(run.parent).status, get_run(run.parent).metrics) == ("FINISHED", {"map": 0.5})
    assert not list(outbox_folder().glob("*/stage.json"))


@pytest.mark.usefixtures("store")
def test_writes_that_are_sent_twice_are_there_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interruption after the server has received everything and before the queue is removed."""
    work_without_server(monkeypatch)
    (box,) = outboxes()
    writes = (box.folder / "writes.jsonl").read_text()
    box._send()
    queued = [line for line in writes.splitlines(keepends=True) if '"artifact"' not in line]
    (box.folder / "writes.jsonl").write_text("".join(queued))
    box.send()
    assert [point.step for point in client().get_metric_history(box.run_id, "loss")] == [0, 1, 2]


@pytest.mark.usefixtures("store")
def test_a_run_whose_creation_was_not_answered_is_found_again() -> None:
    tags = {"key": "a" * 32}
    first = operations.create_run("toy", "infer", tags)
    assert operations.create_run("toy", "infer", tags, retry=True) == first
    assert operations.create_run("toy", "infer", {"key": "b" * 32}, retry=True) != first


@pytest.mark.usefixtures("store")
def test_what_another_server_has_missed_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    work_without_server(monkeypatch)
    (box,) = outboxes()
    box.opening.server = "http://elsewhere"
    box.save()
    assert (outboxes(), send_waiting()) == ([], 0)
    assert box.waits


@pytest.mark.usefixtures("store")
def test_a_setting_that_differs_in_a_resumed_run_becomes_a_tag() -> None:
    with open_run("toy", "pretrain", {}) as run:
        run.params({"device": "cpu", "batch": 16})
        run.params({"device": "cuda:0", "batch": 16, "steps": 3})
    record = get_run(run.run_id)
    assert record.params == {"device": "cpu", "batch": "16", "steps": "3"}
    assert record.tags["resumed/device"] == "cuda:0"
    assert "resumed/batch" not in record.tags


@pytest.mark.usefixtures("store")
def test_a_damaged_outbox_is_named() -> None:
    path = outbox_folder() / "toy-infer-0123456789abcdef-01234567" / "stage.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(ValueError, match=r"stage\.json cannot be read: .*; move its folder away"):
        outboxes()
