"""A replaced file or folder is the old one or the new one, whatever happens in between."""

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from files import replacing as module
from files.replacing import replacing
from tests.files.versions import fill, no_exchange, read, write

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("file", "folder")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("before", [None, *KINDS])
@pytest.mark.parametrize("exchange", [True, False])
def test_the_new_content_takes_the_place_of_the_old(tmp_path, monkeypatch, kind, before, exchange):
    if not exchange:
        monkeypatch.setattr(module, "_exchange", no_exchange)
    path = tmp_path / "deep" / "x.y"
    if before:
        write(path, before, "1")
    write(path, kind, "2")
    assert (read(path), path.is_dir()) == ("2", kind == "folder")
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_block_that_fails_changes_nothing(tmp_path, kind, error):
    def fail() -> None:
        with replacing(tmp_path / "x") as temporary:
            fill(temporary, kind, "2")
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "x", kind, "1")
    with pytest.raises(error):
        fail()
    assert read(tmp_path / "x") == "1"
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]


def test_an_interrupt_between_two_moves_is_undone(tmp_path, monkeypatch):
    write(tmp_path / "x", "folder", "1")
    rename = os.rename

    def interrupted(source: Path, target: Path) -> None:
        rename(source, target)
        if Path(target).name == "old":
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "_exchange", no_exchange)
    monkeypatch.setattr(module.os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "x", "folder", "2")
    assert read(tmp_path / "x") == "1"
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]


def test_new_files_have_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    write(tmp_path / "x", "file", "1")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "plain").stat().st_mode


# A child process for each call that the operating system is asked for: it is killed right before that call.
KILLED_AT_EVERY_CALL = """
import itertools, os, signal, sys
from pathlib import Path
from files import replacing as module
from tests.files.versions import no_exchange, read, write

folder, kind, exchange = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "True"
if not exchange:
    module._exchange = no_exchange
for number in itertools.count():
    write(folder / "x", kind, "1")
    child = os.fork()
    if not child:
        seen = itertools.count()
        sys.addaudithook(lambda event, arguments: next(seen) == number and os.kill(os.getpid(), signal.SIGKILL))
        write(folder / "x", kind, "2")
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if exchange or kind == "file":
        assert read(folder / "x") in "12", number
    write(folder / "y", kind, "1")
    assert read(folder / "x") in "12", number
    assert {entry.name for entry in folder.iterdir()} == {"x", "y"}, (number, list(folder.iterdir()))
    if os.waitstatus_to_exitcode(status) == 0:
        break
print(number)
"""


@pytest.mark.parametrize(("kind", "exchange"), [("file", True), ("folder", True), ("folder", False)])
def test_a_process_killed_before_any_call_leaves_the_old_or_the_new(tmp_path, kind, exchange):
    command = [sys.executable, "-c", KILLED_AT_EVERY_CALL, str(tmp_path), kind, str(exchange)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 15


WRITES_FOREVER = """
import itertools, sys
from pathlib import Path
from tests.files.versions import write

print("ready", flush=True)
for number in itertools.count():
    write(Path(sys.argv[1]), sys.argv[2], str(number % 10))
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_process_killed_at_any_moment_leaves_the_old_or_the_new(tmp_path, kind):
    rng = random.Random(0)
    path = tmp_path / "x"
    write(path, kind, "0")
    for _ in range(50):
        command = [sys.executable, "-c", WRITES_FOREVER, str(path), kind]
        writer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(rng.random() / 50)
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
        read(path)
    write(path, kind, "1")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("exchange", [True, False])
def test_many_writers_at_once_leave_one_whole_version(tmp_path, monkeypatch, kind, exchange):
    if not exchange:
        monkeypatch.setattr(module, "_exchange", no_exchange)
    path = tmp_path / "x"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: write(path, kind, str(number % 10)), range(80)))
    read(path)
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_files_of_a_living_process_stay(tmp_path):
    with replacing(tmp_path / "x") as temporary:
        fill(temporary, "folder", "1")
        write(tmp_path / "x", "folder", "2")
        write(tmp_path / "y", "folder", "2")
        assert read(temporary) == "1"
    assert read(tmp_path / "x") == "1"


def test_the_new_content_is_on_disk_before_it_replaces_the_old(tmp_path, monkeypatch):
    calls = []
    move = os.replace
    monkeypatch.setattr(module.os, "fsync", lambda number: calls.append(os.readlink(f"/proc/self/fd/{number}")))
    monkeypatch.setattr(module.os, "replace", lambda *paths: (calls.append("replace"), move(*paths)))
    write(tmp_path / "x", "folder", "1")
    before, after = calls[: calls.index("replace")], calls[calls.index("replace") + 1 :]
    assert {Path(path).name for path in before} == {"a", "b", "c", "deep", "x"}
    assert after == [str(tmp_path)]
