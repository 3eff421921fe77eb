import sys
from pathlib import Path

import pytest

from terminal.notify import notifying

FACTS = {"RUN_DATASET": "yt8m", "RUN_LINEUP": "paper"}


@pytest.fixture
def told(tmp_path: Path) -> tuple[str, Path]:
    """A command that writes what it is told, and the file it writes to."""
    program, file = tmp_path / "program.py", tmp_path / "told"
    names = ("RUN_STATUS", "RUN_ERROR", *FACTS)
    program.write_text(f"import os; open({str(file)!r}, 'w').write(' '.join(os.environ[name] for name in {names}))")
    return f"{sys.executable} {program}", file


def test_the_command_is_told_how_the_work_ended(told: tuple[str, Path]) -> None:
    command, file = told
    with notifying(command, FACTS):
        assert not file.exists()
    assert file.read_text() == "FINISHED  yt8m paper"
    with pytest.raises(RuntimeError), notifying(command, FACTS):
        raise RuntimeError("1 of 9 members failed")
    assert file.read_text() == "FAILED 1 of 9 members failed yt8m paper"
    with pytest.raises(KeyboardInterrupt), notifying(command, FACTS):
        raise KeyboardInterrupt
    assert file.read_text() == "KILLED KeyboardInterrupt yt8m paper"


def test_a_command_that_fails_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with notifying(f"{sys.executable} -c 'raise SystemExit(3)'", FACTS):
        pass
    assert caplog.messages[0].endswith("ended with the exit code 3")


@pytest.mark.parametrize("command", ["no-such-program --now", ""])
def test_a_command_that_does_not_exist_is_refused_before_the_work(command: str) -> None:
    with pytest.raises(ValueError, match="--notify: there is no command"), notifying(command, FACTS):
        pytest.fail("the work has begun")
