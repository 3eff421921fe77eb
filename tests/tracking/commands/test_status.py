import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from tracking.commands.status import status, unfinished
from tracking.liveness import process_tags
from tracking.store import client, experiment_id
from tracking.writing import open_parent, open_run

MEMBER = {"dataset": "synthetic", "lineup": "demo", "member": "bert", "kind": "member"}
LONG_AGO = datetime.now(UTC) - timedelta(days=30)


def fail(stage: str) -> None:
    with (
        pytest.raises(ValueError, match="too high"),
        open_parent("synthetic", "bert", MEMBER) as parent,
        open_run("synthetic", stage, {"stage": stage}, parent.run_id),
    ):
        raise ValueError("the learning rate is too high")


def succeed(stage: str) -> None:
    with (
        open_parent("synthetic", "bert", MEMBER) as parent,
        open_run("synthetic", stage, {"stage": stage}, parent.run_id),
    ):
        pass


def write_dead() -> str:
    """A run that its process left RUNNING."""
    tags = {**process_tags(), "pid": "", "stage": "infer", "split": "test", "member": "bert", "lineup": "demo"}
    return client().create_run(experiment_id("synthetic"), tags=tags, run_name="infer test").info.run_id


@pytest.mark.usefixtures("store")
def test_running_failed_and_dead_stages_are_listed_and_what_was_mended_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fail("pretrain")
    succeed("pretrain")  # mends it
    fail("finetune")
    write_dead()
    with open_run("synthetic", "optimize", {"stage": "optimize", "lineup": "demo"}) as run:
        run.progress(12, 60, "trial")
        status(json=True)
        entries = {entry["stage"]: entry for entry in json.loads(capsys.readouterr().out)}
        status()
        table = capsys.readouterr().out
    assert {stage: entry["state"] for stage, entry in entries.items()} == {
        "optimize": "running",
        "infer test": "killed",
        "finetune": "failed",
    }
    assert entries["optimize"]["progress"].startswith("12 of 60 trials at 20")
    assert entries["finetune"]["error"] == "ValueError: the learning rate is too high"
    assert (entries["optimize"]["host"], entries["finetune"]["member"]) == (process_tags()["host"], "bert")
    for text in ("12 of 60 trials", "ensemble", "infer test", "learning rate is too high"):
        assert text in table
    assert table.endswith("1 running; 2 failed or killed in the last 7 days\n")


def test_status_writes_nothing(store: str) -> None:
    write_dead()

    def content() -> list[str]:
        with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as connection:
            return list(connection.iterdump())

    before = content()
    assert [record.status for record in unfinished(LONG_AGO)] == ["KILLED"]
    assert content() == before


@pytest.mark.usefixtures("store")
def test_old_failures_are_left_out_and_old_running_runs_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    fail("finetune")
    with open_run("synthetic", "pretrain", {"stage": "pretrain"}):
        later = datetime.now(UTC) + timedelta(days=1)
        assert [record.name for record in unfinished(later)] == ["pretrain"]


def test_days_below_zero_are_refused() -> None:
    with pytest.raises(ValueError, match=r"--days is -1; it must be at least 0"):
        status(days=-1)
