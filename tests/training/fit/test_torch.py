"""The torch estimator: what weighted frames and its options leave unchanged."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.conftest import briefly
from tests.training.fit.together import CPU, MEMBERS, losses_of
from tracking import runs
from training import stages
from training.fit import processes
from training.fit.options import TorchOptions
from training.fit.torch import TorchEstimator
from training.job import Job
from training.member import Member
from training.members import member_of
from training.windows.examples import SegmentExamples
from videos.store import FrameStore

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def mix() -> Member:
    member = briefly(member_of("paper", "mix-nextvlad-60"))
    return replace(member, config=replace(member.config, dropout=0.0, clusters=8, hidden=32))  # pyright: ignore


def test_a_step_on_weighted_frames_is_the_step_on_repeated_ones(tiny: FrameStore, mix: Member) -> None:
    losses, weights = [], []
    for weighted in (False, True):
        sampler = replace(mix.sampler, weighted=weighted)
        batch = SegmentExamples(tiny, sampler, "none").batch(np.arange(16), np.random.default_rng(0))
        assert batch.features.shape[1] == (5 if weighted else 60)
        estimator = TorchEstimator(replace(mix, sampler=sampler), tiny.dataset, CPU)
        losses.append(float(estimator.train_step(batch, 1e-3)))
        weights.append({name: array.copy() for name, array in estimator.weights().items()})
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for name, array in weights[0].items():
        if "running" in name:
            np.testing.assert_allclose(weights[1][name], array, atol=1e-6, rtol=1e-4)


def test_the_gate_on_frame_means_refuses_weighted_frames(tiny: FrameStore, mix: Member) -> None:
    config = replace(mix.config, gate="frame_means")  # pyright: ignore
    with pytest.raises(ValueError, match="mix-nextvlad-60 trains differently on weighted frames"):
        replace(mix, config=config)
    member = replace(mix, config=config, sampler=replace(mix.sampler, weighted=False))
    TorchEstimator(member, tiny.dataset, CPU)


def test_parts_of_a_batch_teach_what_the_batch_does(tiny: FrameStore) -> None:
    bert = MEMBERS[0]
    assert losses_of(tiny, bert, replace(CPU, accumulate=4)) == pytest.approx(losses_of(tiny, bert), rel=1e-5)


def test_half_precision_is_close_and_keeps_full_weights(tiny: FrameStore) -> None:
    bert = MEMBERS[0]
    assert losses_of(tiny, bert, replace(CPU, precision="bf16")) == pytest.approx(losses_of(tiny, bert), rel=0.02)
    estimator = TorchEstimator(bert, tiny.dataset, replace(CPU, precision="bf16"))
    assert {str(array.dtype) for array in estimator.weights().values()} == {"float32"}


@pytest.mark.slow
def test_a_compiled_model_learns_the_same(tiny: FrameStore) -> None:
    torch.compiler.reset()
    bert = MEMBERS[0]
    plain = losses_of(tiny, bert, consistency=0.0)  # unrated windows would be compiled for half a minute more
    assert losses_of(tiny, bert, replace(CPU, compile=True), consistency=0.0) == pytest.approx(plain, rel=1e-5)


def test_a_batch_must_fall_into_equal_parts(tiny: FrameStore) -> None:
    with pytest.raises(ValueError, match="--accumulate is 3, which does not divide a batch of 16"):
        losses_of(tiny, MEMBERS[0], replace(CPU, accumulate=3))


def test_two_processes_learn_as_one(tiny: FrameStore, tmp_path: Path, store: str) -> None:
    """Losses agree to 1e-5 of their size (sums in another order), batch statistics included; the first process logs."""
    out = tmp_path / "losses.json"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "tests.training.fit.together", str(tiny.folder), str(out)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "MLFLOW_TRACKING_URI": store}, check=True, timeout=240)
    together = json.loads(out.read_text())
    for member in MEMBERS:
        assert together[member.name] == pytest.approx(losses_of(tiny, member), rel=1e-5)
    found = runs.find_runs("tiny", finished=False)
    assert sorted(run.name for run in found) == ["bert-l2h12-mean", "pretrain"]
    assert {run.status for run in found} == {"FINISHED"}
    stage = next(run for run in found if run.name == "pretrain")
    assert stage.params["processes"] == "2"
    job = Job(lineup="paper", member=MEMBERS[0], store=tiny, options=CPU)
    assert stage.tags[runs.CONFIG_DIGEST] == job.digest("pretrain")  # one process finds it done
    assert stages.pretrain(job).run_id == stage.run_id


def test_what_torchrun_cannot_do_is_refused(tiny: FrameStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ValueError, match="infer is work for one process"):
        stages.infer(Job(lineup="paper", member=MEMBERS[0], store=tiny), "holdout")
    with pytest.raises(ValueError, match="3 processes do not divide a batch of 16"):
        processes.share(16)


def test_only_what_changes_results_makes_another_stage(tiny: FrameStore) -> None:
    def digest(member: Member, **options) -> str:
        return Job(lineup="paper", member=member, store=tiny, options=TorchOptions(**options)).digest("pretrain")

    bert, mix = MEMBERS
    assert digest(bert) == digest(bert, device="cpu", compile=True, accumulate=4)
    assert digest(bert) != digest(bert, precision="bf16")
    assert digest(mix) != digest(mix, accumulate=4)  # batch statistics of a part
