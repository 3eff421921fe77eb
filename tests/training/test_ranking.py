"""An `infer` that is killed resumes where it was, and ends with the same lists."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from tests.training.test_toys import TOYS
from tests.training.toy_kind import ToyEstimator
from tracking import runs
from training import members, ranking, stages
from training.fit.kinds import KINDS
from training.job import Job, checkpoint_folder
from training.ranking import SplitRanking
from videos.store import FrameStore

ROOT = Path(__file__).resolve().parents[2]
TOY = replace(TOYS[-1], pretrain=None)


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "toy", "tests.training.toy_kind")
    monkeypatch.setitem(members.LINE_UPS, "toys", lambda: (TOY,))
    monkeypatch.setattr(ranking, "SEGMENTS", 3)
    monkeypatch.setattr(ranking, "KEEP_SECONDS", 0.0)
    monkeypatch.setattr(ranking, "KEEP_SHARE", np.inf)


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_a_killed_infer_resumes_as_the_same_run_with_the_same_lists(
    tiny: FrameStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(lineup="toys", member=TOY, store=tiny)
    stages.finetune(job)
    command = [sys.executable, "-m", "tests.training.killed_infer", str(tiny.folder)]
    assert subprocess.run(command, cwd=ROOT, timeout=100).returncode == -signal.SIGKILL
    sizes = []
    plain = ToyEstimator.predictor

    def counting(self, columns: np.ndarray):
        predict = plain(self, columns)
        return lambda windows: (sizes.append(len(windows.index)), predict(windows))[1]

    monkeypatch.setattr(ToyEstimator, "predictor", counting)
    with caplog.at_level("INFO"):
        resumed = stages.infer(job, "holdout")
    left = len(sizes)
    sizes.clear()
    whole = stages.infer(Job(lineup="toys", member=TOY, store=tiny, force=True), "holdout")
    assert left == len(sizes) - 2  # blocks: of the two that were scored, none is scored again
    done, every = (sum(of) // len(TOY.shifts) for of in (sizes[:2], sizes))
    assert f"resumes after {done} of {every} segments" in caplog.text
    one, other = resumed.artifact("predictions"), whole.artifact("predictions")
    names = sorted(path.name for path in other.iterdir())
    assert names == ["segments.parquet", *(f"shift{shift}.parquet" for shift in TOY.shifts)]
    for name in names:
        assert pl.read_parquet(one / name).equals(pl.read_parquet(other / name))
    assert not checkpoint_folder(infer_stage(job), force=False).exists()
    statuses = [run.status for run in runs.find_runs("tiny", finished=False, stage="infer")]
    assert statuses == ["FINISHED", "FINISHED"]  # the killed one was resumed


def infer_stage(job: Job):
    return job.stage("infer", job.finetuned().key, split="holdout")


def test_a_ranking_is_the_same_wherever_it_was_interrupted(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).integers(-9, 9, size=(2, 50, 3)).astype(np.float32)
    ids = pl.Series([f"v{number:02}:0" for number in range(50)])

    def lists(ranking: SplitRanking) -> dict[int, pl.DataFrame]:
        return {shift: submission.lists for shift, submission in ranking.submissions()}

    whole = SplitRanking(tmp_path / "whole", (0, 1), [4, 2, 3], ids)
    for first in range(0, 50, 5):
        assert whole.add(first, list(scores[:, first : first + 5]), first + 5)
    expected = lists(whole)
    for _ in range(50 // 5):
        part = SplitRanking(tmp_path / "part", (0, 1), [4, 2, 3], ids)
        part.add(part.done, list(scores[:, part.done : part.done + 5]), part.done + 5)
    part = SplitRanking(tmp_path / "part", (0, 1), [4, 2, 3], ids)
    assert part.done == 50
    again = lists(part)
    assert again.keys() == expected.keys() == {0, 1}
    assert all(again[shift].equals(expected[shift]) for shift in expected)
    assert expected[0]["class_id"].to_list() == [2, 3, 4]


def test_keeping_takes_a_small_share_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 61.0, 61.0, 71.0, 262.0, 272.0, 272.0, 272.5])  # the first keeping takes 10 s
    monkeypatch.setattr(ranking, "time", SimpleNamespace(monotonic=lambda: next(clock)))  # other threads have theirs
    monkeypatch.setattr(ranking, "KEEP_SECONDS", 60.0)
    monkeypatch.setattr(ranking, "KEEP_SHARE", 0.05)
    ids = pl.Series(["a:0", "b:0", "c:0", "d:0"])
    own = SplitRanking(tmp_path / "kept", (0,), [1], ids)
    kept = [own.add(code, [np.ones((1, 1), np.float32)], code + 1) for code in range(4)]
    assert kept == [False, True, False, True]
