"""The Python that make chooses."""

import os
import subprocess
from pathlib import Path

import pytest

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
