"""The door of every command."""

import signal
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from tyro.conf import OmitArgPrefixes

from terminal.cli import main

ROOT = Path(__file__).resolve().parents[2]
# A command that is sent a signal where what is raised is dropped, or while it cleans up.
COMMAND = """
import os, sys, time
sys.argv = ["program", "work"]
from terminal import cli

def work() -> None:
    class Thing:
        def __del__(self):
            if {place!r} == "destructor":
                os.kill(os.getpid(), {number})
                time.sleep(0.001)
    thing = Thing()
    del thing
    if {place!r} == "body":
        os.kill(os.getpid(), {number})
    if {place!r} == "swallowed":
        try:
            os.kill(os.getpid(), {number})
            time.sleep(0.01)
        except BaseException:
            pass
    if {place!r} == "cleaning up":
        try:
            os.kill(os.getpid(), {number})
            time.sleep(1)
        finally:
            time.sleep(0.5)
            print("cleaned up", file=sys.stderr)
    time.sleep(5)
    print("not stopped")

cli.main({{"work": work, "rest": work}}, "program", "A program.")
"""


@pytest.mark.parametrize("place", ["body", "destructor", "swallowed", "cleaning up"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_a_command_wherever_it_arrives(place: str, number: int, code: int) -> None:
    script = COMMAND.format(place=place, number=int(number))
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert ("cleaned up" in done.stderr) == (place == "cleaning up")


def test_a_value_that_refuses_its_fields_is_one_sentence(monkeypatch, capsys) -> None:
    @dataclass(frozen=True)
    class Settings:
        trials: int = 1

        def __post_init__(self) -> None:
            if self.trials < 1:
                raise ValueError("--trials is 0; a search needs at least 1")

    def work(settings: OmitArgPrefixes[Settings] = Settings()) -> None:
        raise AssertionError("the command was run")

    monkeypatch.setattr(sys, "argv", ["program", "work", "--trials", "0"])
    with pytest.raises(SystemExit) as ended:
        main({"work": work, "rest": work}, "program", "A program.")
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: --trials is 0; a search needs at least 1\n"


class ForeignError(Exception):
    pass


def foreign_errors() -> list[Exception]:
    from mlflow.exceptions import MlflowException
    from polars.exceptions import ComputeError
    from safetensors import SafetensorError

    return [
        MlflowException("the run is gone"),
        sqlite3.OperationalError("database disk image is malformed"),
        SafetensorError("Error while deserializing header"),
        ComputeError("\n\nparquet: file is cut\nwith a plan\nof several lines"),
        KeyError("weights"),
        ForeignError(),
    ]


@pytest.mark.parametrize("error", foreign_errors(), ids=lambda error: type(error).__name__)
def test_an_unexpected_exception_is_one_sentence_and_its_traceback_a_file(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        raise error

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["program", "work"])
    with pytest.raises(SystemExit) as ended:
        main({"work": work, "rest": work}, "program", "A program.")
    (file,) = tmp_path.iterdir()
    printed = capsys.readouterr().err
    assert ended.value.code == 1
    assert printed.startswith(f"error: {type(error).__name__}: ")
    assert printed.endswith(f"; please report it with {file}\n")
    assert len(printed.splitlines()) == 1
    assert "in work\n    raise error\n" in file.read_text()


def test_the_list_of_commands_has_their_first_paragraphs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(times: int = 1) -> None:
        """Work hard.

        What else there is to know.

        Args:
            times: How often.
        """

    def helped(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["program", *words, "--help"])
        with pytest.raises(SystemExit) as ended:
            main({"work": work, "rest": lambda: None}, "program", "A program.")
        assert ended.value.code == 0
        return capsys.readouterr().out

    assert "Work hard." in helped()
    assert "What else" not in helped()
    assert "What else" in helped("work")
    assert "How often." in helped("work")
