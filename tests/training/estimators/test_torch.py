"""The torch estimator: its step by hand, and what its options leave unchanged."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training.conftest import briefly
from training.estimators.torch import TorchEstimator
from training.frames import FrameStore
from training.members import Member, member_of
from training.windows import SegmentExamples


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
        estimator = TorchEstimator(replace(mix, sampler=sampler), tiny.dataset, "cpu")
        losses.append(float(estimator.train_step(batch, 1e-3)))
        weights.append({name: array.copy() for name, array in estimator.weights().items()})
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for name, array in weights[0].items():
        if "running" in name:
            np.testing.assert_allclose(weights[1][name], array, atol=1e-6, rtol=1e-4)


def test_the_gate_on_frame_means_refuses_weighted_frames(tiny: FrameStore, mix: Member) -> None:
    member = replace(mix, config=replace(mix.config, gate="frame_means"))  # pyright: ignore
    with pytest.raises(ValueError, match="mix-nextvlad-60 learns otherwise from weighted frames"):
        TorchEstimator(member, tiny.dataset, "cpu")
    TorchEstimator(replace(member, sampler=replace(member.sampler, weighted=False)), tiny.dataset, "cpu")


def test_one_step_by_hand(tiny: FrameStore) -> None:
    """Adam at its first step moves each weight by rate * g / (|g| + eps), where g is the clipped gradient."""
    member = replace(member_of("paper", "bert-l2h12-mean"), seed=1)
    member = replace(member, config=replace(member.config, dropout=0.0))  # pyright: ignore
    batch = SegmentExamples(tiny, member.sampler, "none").batch(np.arange(8), np.random.default_rng(0))
    estimator, other = (TorchEstimator(member, tiny.dataset, "cpu") for _ in range(2))
    p = other.module(torch.from_numpy(batch.features))
    y = torch.from_numpy(batch.labels)
    loss = -(y * (p + 1e-5).log() + (1 - y) * (1 - p + 1e-5).log()).sum() / 8
    penalty = sum((p**2).sum() for n, p in other.module.named_parameters() if n.startswith("head") and p.ndim == 2)
    (loss + 1e-6 / 2 * penalty).backward()
    before = {name: array.copy() for name, array in estimator.weights().items()}
    assert float(estimator.train_step(batch, 1e-3)) == pytest.approx(loss.item(), rel=1e-6)
    large = 0
    for name, parameter in other.module.named_parameters():
        gradient = parameter.grad.numpy()
        norm = np.linalg.norm(gradient)
        large += norm > 1
        gradient = gradient / max(norm, 1)
        moments = estimator.moments()
        np.testing.assert_allclose(moments[f"{name}/exp_avg"], 0.1 * gradient, atol=1e-7, rtol=1e-3)
        expected = before[name] - 1e-3 * gradient / (np.abs(gradient) + 1e-8)
        clear = np.abs(gradient) > 1e-6  # where the sign is not a matter of rounding
        np.testing.assert_allclose(estimator.weights()[name][clear], expected[clear], atol=1e-6)
    assert large  # some tensor was clipped
