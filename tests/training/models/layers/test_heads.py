"""The heads by hand, on numbers that fit on a line."""

from math import exp, sqrt

import pytest
import torch

from training.models.layers.heads import Head, Logistic, MixtureOfExperts


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def penalty(head: Head) -> float:
    """The L2 term that a head asks of training."""
    return sum(factor / 2 * float(parameter.detach().square().sum()) for parameter, factor in head.decays())


def test_mixture_of_experts_by_hand():
    """Two classes, two experts and the dummy, an encoding of one value: 2."""
    head = MixtureOfExperts(width=1, classes=2, experts=2)
    head.gates.weight.data = torch.tensor([[0.1], [0.2], [0.3], [0.4], [0.5], [0.6]])  # class by class
    head.experts.weight.data = torch.tensor([[1.0], [-1.0], [0.5], [2.0]])
    head.experts.bias.data = torch.tensor([0.0, 1.0, -1.0, 0.0])

    first = exp(0.2) + exp(0.4) + exp(0.6)
    second = exp(0.8) + exp(1.0) + exp(1.2)
    expected = [
        exp(0.2) / first * sigmoid(2) + exp(0.4) / first * sigmoid(-2 + 1),
        exp(0.8) / second * sigmoid(1 - 1) + exp(1.0) / second * sigmoid(4),
    ]
    assert head(torch.tensor([[2.0]])).tolist() == [pytest.approx(expected)]

    gates = 0.1**2 + 0.2**2 + 0.3**2 + 0.4**2 + 0.5**2 + 0.6**2
    experts = 1 + 1 + 0.5**2 + 2**2  # the biases are free
    assert penalty(head) == pytest.approx(1e-6 / 2 * (gates + experts))


def test_the_dummy_expert_says_no():
    """Even experts that are certain give no more than the dummy leaves them."""
    head = MixtureOfExperts(width=1, classes=1, experts=5)
    head.experts.bias.data.fill_(100)
    head.gates.weight.data.zero_()
    assert head(torch.ones(1, 1)).item() == pytest.approx(5 / 6)
    head.gates.weight.data[5] = 100  # the sixth gate is the dummy's
    assert head(torch.ones(1, 1)).item() == pytest.approx(0, abs=1e-6)
    head.gates.weight.data[5] = -100
    assert head(torch.ones(1, 1)).item() == pytest.approx(1)


@pytest.mark.parametrize("l2", [1e-8, 1e-5])
def test_logistic_penalty_counts_the_bias(l2):
    head = Logistic(width=1, classes=2, l2=l2)
    head.linear.weight.data = torch.tensor([[3.0], [4.0]])
    head.linear.bias.data = torch.tensor([0.0, 2.0])
    assert head(torch.tensor([[1.0]])).tolist() == [[3.0, 6.0]]  # logits
    assert penalty(head) == pytest.approx(l2 / 2 * (9 + 16 + 4))


@pytest.mark.parametrize("head", [MixtureOfExperts(6, classes=9), Logistic(6, classes=9, l2=1e-5)])
def test_scored_columns_are_those_of_the_whole_head(head):
    encoding = torch.randn(4, 6)
    columns = torch.tensor([7, 0, 3])
    torch.testing.assert_close(head.scored(columns)(encoding), head(encoding)[:, columns])


def test_initial_weights():
    torch.manual_seed(0)
    mixture, logistic = MixtureOfExperts(width=64, classes=50), Logistic(width=64, classes=200, l2=1e-8)
    assert mixture.gates.weight.abs().max().item() == pytest.approx(sqrt(6 / (64 + 50 * 6)), rel=0.01)  # Glorot uniform
    assert mixture.experts.weight.abs().max().item() == pytest.approx(sqrt(6 / (64 + 50 * 5)), rel=0.01)
    assert logistic.linear.weight.std().item() == pytest.approx(sqrt(2 / 64), rel=0.02)
    assert logistic.linear.weight.abs().max() <= 2 * sqrt(1.3 * 2 / 64)
    assert not mixture.experts.bias.any()
    assert not logistic.linear.bias.any()
