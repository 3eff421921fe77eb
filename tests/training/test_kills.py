"""A line-up of all three frameworks that is stopped at random moments and typed again: as if nothing had happened."""

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from tests.training.killed_line_up import LINEUP
from tracking import repetition, runs
from tracking.runs import Record, find_run, find_runs
from tracking.sqlite_reading import read_points
from tracking.store import ROOT, client

KILLS = os.environ.get("KILLS", "3")  # one of each signal; 20 take ten minutes


def stages() -> dict[str, Record]:
    """The finished run of each stage, by its member and name; there is one of each."""
    finished = [run for run in find_runs("tiny", lineup=LINEUP) if runs.STAGE in run.tags]
    named = {f"{run.tags.get(runs.MEMBER, 'ensemble')} {run.name}": run for run in finished}
    assert len(named) == len(finished)
    return named


def results() -> dict[str, str]:
    """The SHA-256 of each file that the stages have made; of the search, its weights."""
    made = {name: repetition.results(run) for name, run in stages().items()}
    return {f"{name} {file}": value for name, files in made.items() for file, value in files.items()}


def contents() -> dict[str, set[str]]:
    """The names of all artifacts of each stage, but for the difference to the commit, which may change meanwhile."""
    folders = {name: Path(unquote(urlparse(run.artifact_uri).path)) for name, run in stages().items()}
    return {
        name: {str(file.relative_to(folder)) for file in folder.rglob("*")} - {"code.diff"}
        for name, folder in folders.items()
    }


def check_metrics(database: Path) -> None:
    """Each step of each metric of a stage is there once; what is linked to the ensemble's model, once more."""
    for name, run in stages().items():
        for metric in run.metrics:
            points = [(step, value) for step, value, _ in read_points(database, run.run_id, metric)]
            once = set(points) if name.startswith("ensemble fuse") else points
            assert len(once) == len({step for step, _ in points}), (name, metric, points)


def check_files(mlruns: Path) -> None:
    """Nothing is left but the database and the artifacts of runs and models that the store has."""
    # The lock of a process that was killed after the end of a stage is taken by the next that needs it.
    apart = (mlruns / "artifacts", mlruns / "locks")
    left = [file for file in mlruns.rglob("*") if not file.is_dir() and not any(map(file.is_relative_to, apart))]
    assert {file.name.removesuffix("-wal").removesuffix("-shm") for file in left} == {"mlflow.db"}
    known = {run.run_id for run in find_runs(finished=False)}
    known |= {
        model.model_id for model in client().search_logged_models([find_run("tiny", kind="ensemble").experiment_id])
    }
    for file in (mlruns / "artifacts").rglob("*"):
        assert not re.search(r"\.replacing|\.tmp|~$", file.name), file
        if file.is_file():
            assert known & set(file.parts), file


@pytest.mark.slow
def test_a_line_up_that_is_stopped_at_random_moments_ends_in_the_same_bits(
    tmp_path: Path, migrated_store: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlflow.db").write_bytes(migrated_store.read_bytes())
    command = [sys.executable, "-m", "tests.training.killed_line_up", str(tmp_path), str(tiny_folder), KILLS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    assert len(re.findall("exit code", done.stdout)) == int(KILLS)
    expected: tuple[dict[str, str], dict[str, set[str]]] | None = None
    for place in ("whole", *sorted(path.name for path in tmp_path.iterdir() if path.name.isdigit())):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / place / 'mlruns' / 'mlflow.db'}")
        everything = find_runs(finished=False)
        assert {run.status for run in everything} <= {"FINISHED", "KILLED"}
        assert all(run.end is not None for run in everything)
        assert all(run.status == "FINISHED" for run in everything if run.parent is None)
        expected = expected or (results(), contents())
        assert results() == expected[0]
        assert {
            name: names ^ expected[1][name] for name, names in contents().items() if names != expected[1][name]
        } == {}
        check_metrics(tmp_path / place / "mlruns" / "mlflow.db")
        check_files(tmp_path / place / "mlruns")
