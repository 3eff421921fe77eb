"""A line-up on a Dask cluster: the same results as in one process, although a worker is lost."""

import logging
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from scoring.weights.settings import SearchSettings
from tests.training.cluster_members import MEMBERS, install
from tracking import runs
from training import cluster, line_up, members
from training.fit.kinds import KINDS
from training.fit.options import TorchOptions
from training.job import Job
from videos.store import FrameStore

ROOT = Path(__file__).resolve().parents[2]
SPLITS = ("holdout", "test")


@pytest.fixture
def scheduler() -> Iterator[str]:
    from distributed import LocalCluster

    with LocalCluster(n_workers=0, dashboard_address=None) as own:  # pyright: ignore[reportArgumentType]
        yield own.scheduler_address  # pyright: ignore[reportAttributeAccessIssue]


@pytest.fixture(autouse=True)
def _members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "toy", "")
    monkeypatch.setitem(members.LINE_UPS, "cluster", tuple)
    install()


def results(store: FrameStore) -> dict[str, pl.DataFrame]:
    """The predictions of every member, the weights and the ensembles."""
    made = {}
    for member in MEMBERS:
        for split in SPLITS:
            folder = runs.find_run("tiny", member=member.name, stage="infer", split=split).artifact("predictions")
            made |= {f"{member.name} {split} {path.name}": pl.read_parquet(path) for path in folder.glob("*.parquet")}
    weights = runs.find_run("tiny", stage="optimize").metrics
    made["weights"] = pl.DataFrame({name: value for name, value in weights.items() if name.startswith("weight/")})
    fused = [runs.find_run("tiny", stage="fuse", split=split).tags[runs.SUBMISSION] for split in SPLITS]
    made["fused"] = pl.DataFrame({"digest of the submission": fused})
    return made


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_the_results_are_those_of_one_process_although_a_worker_is_lost(
    tiny: FrameStore, scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"search": SearchSettings(trials=6), "force": False, "options": TorchOptions(device="cpu")}
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(tmp_path / "mlruns" / "mlflow.db", alone)
    mark = tmp_path / "killed"
    command = [sys.executable, "-m", "distributed.cli.dask_worker", scheduler, "--no-nanny", "--nthreads", "1"]
    command += ["--no-dashboard", "--resources", "GPU=1", "--local-directory", str(tmp_path)]
    command += ["--preload", "tests.training.cluster_members", str(mark)]
    workers = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
    try:
        from distributed import Client

        with Client(scheduler, set_as_default=False) as client:
            client.wait_for_workers(3, timeout=400)
        with caplog.at_level(logging.INFO):
            line_up.run("cluster", tiny.folder, scheduler=scheduler, **settings)
        assert mark.read_text().startswith("tcp://")
        assert sorted(worker.poll() or 0 for worker in workers) == [-9, 0, 0]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert "boosted infer test: finished" in caplog.text
    assert {run.status for run in runs.find_runs("tiny", finished=False)} == {"FINISHED"}
    before = {run.run_id for run in runs.find_runs("tiny", finished=False)}
    spread = results(tiny)
    line_up.run("cluster", tiny.folder, **settings)  # each found by its digest
    assert {run.run_id for run in runs.find_runs("tiny", finished=False)} == before
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{alone / 'mlflow.db'}")
    line_up.run("cluster", tiny.folder, **settings)
    expected = results(tiny)
    assert spread.keys() == expected.keys()
    assert [name for name in expected if not spread[name].equals(expected[name])] == []


def test_a_scheduler_without_workers_is_refused(tiny: FrameStore, scheduler: str) -> None:
    jobs = [Job(lineup="cluster", member=MEMBERS[0], store=tiny)]
    with pytest.raises(ValueError, match=r"has no worker; start some with `dask worker tcp://"):
        cluster.run_on(scheduler, jobs, SPLITS)


def test_a_scheduler_that_does_not_answer_is_named(tiny: FrameStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from dask import config

    with (
        config.set({"distributed.comm.timeouts.connect": "100ms"}),
        pytest.raises(ValueError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9; start one with"),
    ):
        cluster.run_on("tcp://127.0.0.1:9", [], SPLITS)
