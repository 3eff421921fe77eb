"""Two steps of each gradient framework against Adam, L2 terms and clipping worked out in NumPy."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from training.fit.loop import GradientEstimator
from training.fit.options import TorchOptions
from training.member import Member, Schedule
from training.members import member_of
from training.windows.examples import Batch, LabelMask, SegmentExamples
from videos.store import FrameStore

Weights = dict[str, np.ndarray]
Gradient = Callable[[Weights, Batch], tuple[float, Weights]]  # the loss without its L2 terms, and its gradient

RATES = [Schedule(40_000, 1_000, learning_rate=3e-3).rate(step) for step in (31_249, 31_250)]  # the second has decayed
L2 = 1e-6  # of the experts and their gates
SILENT = 1  # a class whose experts all say no: nothing but its L2 terms moves its experts and gates
EXPERTS = 5
LABEL_MASKS = pytest.mark.parametrize("label_mask", ["none", "rated+mined"])


def batches_of(store: FrameStore, member: Member, label_mask: LabelMask) -> list[Batch]:
    examples = SegmentExamples(store, member.sampler, label_mask)
    return [examples.batch(np.arange(first, first + 8), np.random.default_rng(first)) for first in (0, 8)]


def silenced(bias: np.ndarray) -> np.ndarray:
    """The experts' biases, class by class, with those of SILENT far below 0."""
    bias = bias.copy()
    bias[SILENT * EXPERTS : (SILENT + 1) * EXPERTS] = -50
    return bias


def counted(batch: Batch) -> np.ndarray:
    """How much each class of each window counts in the loss (B, C)."""
    if batch.mask is None:
        return np.ones_like(batch.labels)
    assert {0.0, 1.0, 1.5} < set(batch.mask.ravel().tolist())  # unknown, rated as absent and as there, and mined
    return batch.mask


def check(
    estimator: GradientEstimator, batches: list[Batch], gradient: Gradient, decayed: set[str], epsilon_last: bool
) -> None:
    """Take a step for each batch, and the same in double precision but for `gradient`.

    Adam adds epsilon after both moments are freed of their bias (`epsilon_last`), or before, as TensorFlow always did.
    Where a gradient is a matter of rounding so is the direction of the step: such elements are not looked at.
    """
    before = {name: array.astype(np.float64) for name, array in estimator.weights().items()}
    expected, clear = dict(before), {name: np.ones(array.shape, dtype=bool) for name, array in before.items()}
    first, second = ({name: np.zeros_like(array) for name, array in before.items()} for _ in range(2))
    were_clipped = set()
    for t, (batch, rate) in enumerate(zip(batches, RATES, strict=True), start=1):
        loss, gradients = gradient(expected, batch)
        assert float(estimator.train_step(batch, rate)) == pytest.approx(loss, rel=1e-5)
        for name, g in gradients.items():
            clear[name] &= (np.abs(g) > 1e-5) | (np.abs(g) < 1e-15)
            g = g.astype(np.float64) + (L2 * expected[name] if name in decayed else 0)
            norm = np.sqrt((g**2).sum())
            were_clipped.add(bool(norm > 1))
            g = g / max(norm, 1)
            first[name] = 0.9 * first[name] + 0.1 * g
            second[name] = 0.999 * second[name] + 0.001 * g**2
            mean, square = first[name] / (1 - 0.9**t), second[name] / (1 - 0.999**t)
            epsilon = 1e-8 if epsilon_last else 1e-8 / np.sqrt(1 - 0.999**t)
            expected[name] = expected[name] - rate * mean / (np.sqrt(square) + epsilon)
    assert were_clipped == {True, False}
    after = estimator.weights()
    learnt = [name for name in expected if expected[name] is not before[name]]
    assert sum(clear[name].sum() for name in learnt) > 0.5 * sum(clear[name].size for name in learnt)
    for name in learnt:
        there = clear[name]
        np.testing.assert_allclose(after[name][there], expected[name][there], atol=1e-5, rtol=0, err_msg=name)


@LABEL_MASKS
def test_two_steps_in_torch(tiny: FrameStore, label_mask: LabelMask) -> None:
    import torch

    from training.fit.torch import TorchEstimator

    member = member_of("paper", "bert-l2h12-mean")
    member = replace(member, config=replace(member.config, dropout=0.0))  # pyright: ignore[reportCallIssue]
    estimator, other = (TorchEstimator(member, tiny.dataset, TorchOptions(device="cpu")) for _ in range(2))
    weights = estimator.weights()
    weights["head.experts.bias"] = silenced(weights["head.experts.bias"])
    estimator.restore(0, weights, {})

    def gradient(weights: Weights, batch: Batch) -> tuple[float, Weights]:
        other.module.load_state_dict({name: torch.from_numpy(array).float() for name, array in weights.items()})
        other.module.zero_grad()
        p, y = other.module(torch.from_numpy(batch.features)), torch.from_numpy(batch.labels)
        entropy = -(y * (p + 1e-5).log() + (1 - y) * (1 - p + 1e-5).log())
        loss = (entropy * torch.from_numpy(counted(batch))).sum() / len(y)
        loss.backward()
        gradients = {name: parameter.grad for name, parameter in other.module.named_parameters()}
        return loss.item(), {name: array.numpy().copy() for name, array in gradients.items() if array is not None}

    decayed = {"head.gates.weight", "head.experts.weight"}
    before = estimator.weights()["head.experts.weight"].copy()
    check(estimator, batches_of(tiny, member, label_mask), gradient, decayed, epsilon_last=True)
    moved = (estimator.weights()["head.experts.weight"] - before)[SILENT * EXPERTS : (SILENT + 1) * EXPERTS]
    assert np.abs(moved).max() > 1e-4  # by its L2 term


@LABEL_MASKS
def test_two_steps_in_keras(tiny: FrameStore, label_mask: LabelMask) -> None:
    import tensorflow as tf

    from training.fit.keras import KerasEstimator

    member = member_of("paper", "gated-netvlad")
    estimator, other = (KerasEstimator(member, tiny.dataset) for _ in range(2))
    names = {id(variable): name for name, variable in zip(estimator.weights(), other.model.weights, strict=True)}
    of_experts = [
        layer for layer in other.model.get_layer("mixture").layers if getattr(layer, "kernel_regularizer", None)
    ]
    decayed = {names[id(layer.kernel)] for layer in of_experts}
    gates, experts = of_experts
    assert (gates.bias, experts.bias.shape[0]) == (None, tiny.dataset.classes * EXPERTS)
    weights = {name: array.copy() for name, array in estimator.weights().items()}
    bias = names[id(experts.bias)]
    weights[bias] = silenced(weights[bias])
    estimator.restore(0, weights, estimator.moments())

    def gradient(weights: Weights, batch: Batch) -> tuple[float, Weights]:
        for name, variable in zip(weights, other.model.weights, strict=True):
            variable.assign(weights[name])
        variables, ones = other.model.trainable_variables, np.ones(batch.features.shape[:2], np.float32)
        with tf.GradientTape() as tape:
            p, y = other.model([batch.features, ones], training=True), batch.labels
            entropy = -(y * tf.math.log(p + 1e-5) + (1 - y) * tf.math.log(1 - p + 1e-5))
            loss = tf.reduce_sum(entropy * counted(batch)) / len(y)
        gradients = tape.gradient(loss, variables)
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        return float(loss), {names[id(variable)]: g.numpy() for variable, g in zip(variables, gradients, strict=True)}

    before = estimator.weights()[names[id(experts.kernel)]].copy()
    check(estimator, batches_of(tiny, member, label_mask), gradient, decayed, epsilon_last=False)
    moved = (estimator.weights()[names[id(experts.kernel)]] - before)[:, SILENT * EXPERTS : (SILENT + 1) * EXPERTS]
    assert np.abs(moved).max() > 1e-4  # by its L2 term
