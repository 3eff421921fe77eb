"""The Python that make chooses, and the rooms that need no framework: their tests pass without one on newer Pythons."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def installed(version: str) -> Path | None:
    """A Python of this version that runs: on the path or in pyenv, whose commands on the path may lead nowhere."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [shutil.which(f"python{version}"), *pyenv.glob(f"versions/{version}.*/bin/python{version}")]
    for python in filter(None, candidates):
        if subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            return Path(python)
    return None


def test_make_takes_the_newest_python_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHON", raising=False)
    monkeypatch.delenv("MAKEFLAGS", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for version, status in {"3.14": 0, "3.13": 127, "3.12": 0, "3.11": 127}.items():
        (tmp_path / f"python{version}").write_text(f"#!/bin/sh\nexit {status}\n")
        (tmp_path / f"python{version}").chmod(0o755)
    done = subprocess.run(["make", "--dry-run", "test-light"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "python3.12 -m venv .venv-light/python3.12" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(3600)  # it installs an environment
def test_the_light_rooms_pass_on_the_newest_python() -> None:
    python = installed("3.13")
    if python is None:
        pytest.skip("Python 3.13 is not installed")
    subprocess.run(["make", "test-light", f"PYTHON={python}"], cwd=ROOT, check=True)
