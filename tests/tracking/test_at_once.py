"""The same stage in two processes at once: one run, and the second takes its result."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.tracking.test_stage import finish, stage
from tracking.runs import find_runs
from tracking.store import ROOT, local_folder

PROGRAM = """
import logging, pathlib, sys, time
logging.basicConfig(level=logging.INFO, format="%(message)s")
from tests.tracking.test_stage import finish, stage
started, go = (pathlib.Path(path) for path in sys.argv[1:])

def work():
    started.touch()
    while not go.exists():
        time.sleep(0.01)
    return finish(stage("one"))

print(stage("one").run_once(False, work).run_id)
"""


def test_a_second_process_waits_says_so_and_takes_the_result(
    store: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    started, go = tmp_path / "started", tmp_path / "go"
    command = [sys.executable, "-c", PROGRAM, str(started), str(go)]

    class Waiting(threading.Thread):
        """Lets the first process end once the second one waits."""

        def run(self) -> None:
            while "another process is running it" not in caplog.text and not given_up.wait(0.05):
                pass
            go.touch()

    given_up = threading.Event()
    with caplog.at_level("INFO"), subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as first:
        while not started.exists():
            assert first.poll() is None
        waiting = Waiting()
        waiting.start()
        second = stage("one").run_once(False, lambda: pytest.fail("the stage ran twice"))
        given_up.set()
        assert first.stdout is not None
        assert first.stdout.read().strip() == second.run_id
    assert caplog.messages[-2:] == [
        "a infer: another process is running it; waiting for its result",
        f"a infer: taken from the process that was running it (run {second.run_id[:8]})",
    ]
    assert len(find_runs("toy", stage="infer", finished=False)) == 1
    assert list((local_folder() / "locks").iterdir()) == []


@pytest.mark.usefixtures("store")
def test_a_forced_second_waits_and_repeats_the_stage() -> None:
    runs = [finish(stage("one")).run_id, stage("one").run_once(True, lambda: finish(stage("one"))).run_id]
    assert len(set(runs)) == 2


@pytest.mark.usefixtures("store")
def test_of_several_processes_that_train_together_none_waits() -> None:
    with stage("one")._lock(wait=True), pytest.raises(RuntimeError, match="another process is running a infer; type"):
        stage("one").run_once(False, lambda: finish(stage("one")), wait=False)
