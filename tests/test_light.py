"""The rooms that need no training framework pass their tests without one, on every newer Python that is installed."""

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


@pytest.mark.slow
@pytest.mark.timeout(3600)  # it installs an environment
@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_the_light_rooms_pass_on_a_newer_python(version: str) -> None:
    python = installed(version)
    if python is None:
        pytest.skip(f"Python {version} is not installed")
    subprocess.run(["make", "test-light", f"PYTHON={python}"], cwd=ROOT, check=True)
