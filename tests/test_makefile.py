"""The Python that make chooses, and the tests that need no framework on the newest one."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.claims_runs import SHRINK

ROOT = Path(__file__).resolve().parents[1]


def test_make_takes_the_newest_python_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHON", raising=False)
    monkeypatch.delenv("MAKEFLAGS", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for version, status in {"3.14": 0, "3.13": 127, "3.12": 0, "3.11": 127}.items():
        (tmp_path / f"python{version}").write_text(f"#!/bin/sh\nexit {status}\n")
        (tmp_path / f"python{version}").chmod(0o755)
    done = subprocess.run(["make", "--dry-run", "test-light"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "python3.12 -m venv .venv-light/python3.12" in done.stdout


def test_the_ensemble_of_make_audioset_is_that_of_the_claims() -> None:
    done = subprocess.run(["make", "--dry-run", "audioset"], cwd=ROOT, capture_output=True, text=True, check=True)
    (command,) = [line for line in done.stdout.splitlines() if "-m training run --lineup audioset" in line]
    assert f"--shrink {SHRINK}" in command


@pytest.mark.slow
def test_rooms_without_a_framework_pass_on_the_newest_python() -> None:
    newest = "python3.13"
    runs = [newest, "-c", "import ensurepip"]  # a version manager's command can be there and lead nowhere
    if shutil.which(newest) is None or subprocess.run(runs, capture_output=True, check=False).returncode:
        pytest.skip(f"there is no {newest}")
    done = subprocess.run(["make", "test-light", f"PYTHON={newest}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
