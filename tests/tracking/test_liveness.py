"""Runs of dead processes are told from those of live ones, and from those that nobody here can know about."""

import os
import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import psutil
import pytest

from tracking import liveness
from tracking.liveness import describe_process, is_dead, process_tags
from tracking.runs import find_runs
from tracking.store import client, experiment_id
from tracking.writing import open_run, reap

UPTIME = psutil.Process().create_time() - psutil.boot_time()
DEAD = {
    "no process": {"pid": "4194305@1.00, 2026-01-01T00:00:00Z"},
    "the pid was reused": {"pid": f"{os.getpid()}@{UPTIME - 60:.2f}, 2026-01-01T00:00:00Z"},
    "no pid": {"pid": ""},
    "before the last boot": {"boot": "another"},
}
NOT_KNOWN_TO_BE_DEAD = {
    "this process": {},
    "the clock was set forward since": {"pid": f"{os.getpid()}@{UPTIME:.2f}, 2036-01-01T00:00:00Z"},
    "another container of this host name": {"pid_namespace": "pid:[1]", "pid": "4194305@1.00, 2026-01-01T00:00:00Z"},
    "another machine of this host name": {"boot": "another", "machine": "another"},
    "another host": {"host": "another", "boot": "another", "machine": "another"},
}


def test_a_process_is_described_by_its_pid_and_start() -> None:
    ours = describe_process(os.getpid())
    assert ours is not None
    assert ours == describe_process(os.getpid())
    assert ours != describe_process(os.getppid())
    assert describe_process(4194305) is None
    start = datetime.fromtimestamp(psutil.Process().create_time(), UTC)
    assert re.fullmatch(rf"{os.getpid()}@\d+\.\d\d, {start:%Y-%m-%dT%H:%M:%SZ}", ours)


@pytest.mark.parametrize("case", [*DEAD, *NOT_KNOWN_TO_BE_DEAD])
def test_only_a_process_that_is_known_to_have_ended_is_dead(case: str) -> None:
    assert is_dead({**process_tags(), **DEAD.get(case, {}), **NOT_KNOWN_TO_BE_DEAD.get(case, {})}) == (case in DEAD)


def test_a_machine_without_an_identity_is_never_taken_for_the_same_after_a_boot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = {**process_tags(), "machine": ""}
    monkeypatch.setattr(liveness, "_machine", lambda: here)
    assert not is_dead({**here, "boot": "another"})


def test_a_run_without_these_tags_is_not_dead() -> None:
    assert not is_dead({})
    assert not is_dead({"host": process_tags()["host"], "pid": "4194305@1"})  # of an earlier version


def test_dead_runs_are_marked_by_whoever_writes_and_only_shown_by_whoever_reads(store: str) -> None:
    number = experiment_id("synthetic")
    for name, tags in {**DEAD, **NOT_KNOWN_TO_BE_DEAD}.items():
        client().create_run(number, tags={**process_tags(), **tags}, run_name=name)

    def running(column: str) -> set[str]:
        with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as connection:
            return {name for (name,) in connection.execute(f"SELECT name FROM runs WHERE status = '{column}'")}

    shown = {run.name: run.status for run in find_runs("synthetic", finished=False)}
    assert shown == dict.fromkeys(DEAD, "KILLED") | dict.fromkeys(NOT_KNOWN_TO_BE_DEAD, "RUNNING")
    assert running("RUNNING") == {*DEAD, *NOT_KNOWN_TO_BE_DEAD}
    reap()
    assert (running("RUNNING"), running("KILLED")) == (set(NOT_KNOWN_TO_BE_DEAD), set(DEAD))
    assert all("error" in run.tags for run in find_runs("synthetic", finished=False) if run.status == "KILLED")


def test_opening_a_run_marks_the_dead_ones(store: str) -> None:
    client().create_run(experiment_id("synthetic"), tags={**process_tags(), "pid": ""}, run_name="dead")
    with open_run("synthetic", "alive", {}):
        runs = client().search_runs([experiment_id("synthetic")])
        statuses = {run.info.run_name: run.info.status for run in runs}
    assert statuses == {"dead": "KILLED", "alive": "RUNNING"}
