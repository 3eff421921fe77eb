"""The benchmark of training steps, on few classes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import training
from benchmarks.training import MEMBERS, WIDTHS, measure, overhead, step_flops
from benchmarks.videos import write_videos
from tests.training.conftest import write_tiny_store
from training.members import line_up
from videos.dataset import Dataset
from videos.store import open_frames

ROOT = Path(__file__).resolve().parents[2]
YT8M = Dataset("yt8m", WIDTHS, "uint8", 5, True, 300, "roll", [], [], "")


def test_its_members_are_those_of_the_line_up() -> None:
    """All of the paper's, and others as they are there."""
    members = {m.name: (m.config, m.sampler.length(YT8M.segment_frames)) for m in line_up("beyond")}
    assert {name: members[name] for name in MEMBERS} == MEMBERS
    assert {member.name for member in line_up("paper") if member.framework == "torch"} <= set(MEMBERS)


def test_operations_by_hand() -> None:
    """Forward one product a weight and frame or window, backward two; the first layers need no gradient of frames."""
    block, head = 4 * 1152**2 + 2 * 1152 * 3072, 1152 * 11 * 40
    forward = 2 * 5 * block + head  # multiply-adds of one window
    attention = 2 * 2 * 5 * 5 * 1152  # at most: its products may be counted or not
    operations = step_flops("bert-l2h12-mean", batch=2, classes=40) / 2 / 2
    first = 3 * 5 * 1152**2
    assert 3 * forward - first <= operations <= 3 * (forward + 2 * attention)


@pytest.mark.parametrize("mode", ["fp32", "bf16"])
def test_a_step_is_timed(mode: str) -> None:
    figures = measure("bert-cross-l2h8-mean", mode, torch.device("cpu"), 2, 1, {"fp32": 1.0, "bf16": 2.0}, classes=10)
    assert figures.samples_per_second > 0
    assert figures.share_of_peak == pytest.approx(figures.tflops / figures.peak_tflops)
    assert figures.loss > 0


def test_a_bare_machine_can_run_it() -> None:
    """Torch, numpy and the architectures: nothing else of the package, nothing else that is to be installed."""
    wrong = {"scoring", "tracking", "polars", "mlflow", "tyro", "rich", "tensorflow", "keras", "lightgbm"}
    code = f"import sys, benchmarks.training; print(sorted({wrong!r} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"


def test_the_loop_is_measured_against_bare_steps(tmp_path: Path, store: str) -> None:
    write_tiny_store(tmp_path / "tiny")
    ours, bare = overhead("bert-l2h12-mean", open_frames(tmp_path / "tiny"), tmp_path, batch=16, steps=2)
    assert min(ours) > 0
    assert min(bare) > 0


@pytest.mark.slow
def test_the_loop_takes_little_beside_its_steps(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth at most, data and logging included, in processor seconds, which other work disturbs least."""
    monkeypatch.setattr(training, "ROUNDS", 3)
    videos = write_videos(tmp_path / "videos", 64, "pretrain", frames=60)
    (_, ours), (_, bare) = overhead("bert-l2h12-mean", videos, tmp_path, batch=16, steps=3)
    assert ours <= 1.1 * bare
