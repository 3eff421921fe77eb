from math import log

import pytest
import torch

from training.models.loss import binary_cross_entropy

PROBABILITIES = torch.tensor([[0.9, 0.2], [0.0, 1.0]])
LABELS = torch.tensor([[1, 0], [1, 1]])


def test_binary_cross_entropy_by_hand():
    first = -log(0.9 + 1e-5) - log(1 - 0.2 + 1e-5)
    second = -log(0 + 1e-5) - log(1 + 1e-5)  # certain and wrong costs a finite 11.5
    assert binary_cross_entropy(PROBABILITIES, LABELS).item() == pytest.approx((first + second) / 2)


def test_mask_weighs_each_class_of_each_window():
    mask = torch.tensor([[1.5, 0.0], [0.0, 0.5]])
    expected = (1.5 * -log(0.9 + 1e-5) + 0.5 * -log(1 + 1e-5)) / 2
    assert binary_cross_entropy(PROBABILITIES, LABELS, mask).item() == pytest.approx(expected)


def test_half_precision_probabilities_keep_the_guard():
    """1 + 1e-5 is 1 in bfloat16: the logarithms are taken in float32."""
    probabilities = torch.tensor([[1.0]], dtype=torch.bfloat16)
    assert binary_cross_entropy(probabilities, torch.zeros(1, 1)).item() == pytest.approx(-log(1e-5), rel=1e-3)
