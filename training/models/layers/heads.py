"""From a window's encoding to one value per class: a mixture of experts, or logistic regression.

Shapes: B batch, D width of the encoding, C classes, E experts.
"""

import torch
from torch import Tensor, nn

from training.models.layers.initialisation import variance_scaling_


class Head(nn.Module):
    """The last layer of a model: the only one that knows the classes."""

    def decays(self) -> list[tuple[Tensor, float]]:
        """The parameters with an L2 term factor / 2 * sum of squares, and its factor.

        Its gradient, factor * parameter, is added directly, which is faster than differentiating the term.
        """
        raise NotImplementedError

    def scored(self, columns: Tensor) -> "Head":
        """A head restricted to the classes `columns` (ids), in that order, with a copy of their weights."""
        raise NotImplementedError


class MixtureOfExperts(Head):
    """Probabilities (B, C): a softmax-weighted mean of each class's experts and a dummy that always returns 0."""

    def __init__(self, width: int, classes: int, experts: int = 5):
        super().__init__()
        self.classes, self.number = classes, experts
        self.gates = nn.Linear(width, classes * (experts + 1), bias=False)
        self.experts = nn.Linear(width, classes * experts)
        nn.init.xavier_uniform_(self.gates.weight)
        nn.init.xavier_uniform_(self.experts.weight)
        nn.init.zeros_(self.experts.bias)

    def forward(self, encoding: Tensor) -> Tensor:
        gates = self.gates(encoding).unflatten(-1, (self.classes, self.number + 1))  # (B, C, E + 1)
        experts = self.experts(encoding).unflatten(-1, (self.classes, self.number))  # (B, C, E)
        shares = gates.float().softmax(-1)[..., : self.number]  # the last is the dummy's
        return (shares * experts.float().sigmoid()).sum(-1)

    def decays(self) -> list[tuple[Tensor, float]]:
        return [(self.gates.weight, 1e-6), (self.experts.weight, 1e-6)]

    def scored(self, columns: Tensor) -> "MixtureOfExperts":
        with torch.device("meta"):
            narrow = MixtureOfExperts(self.gates.in_features, len(columns), self.number)
        narrow.gates.weight = _rows(self.gates.weight, self.classes, columns)
        narrow.experts.weight = _rows(self.experts.weight, self.classes, columns)
        narrow.experts.bias = _rows(self.experts.bias, self.classes, columns)
        return narrow


class Logistic(Head):
    """Logits (B, C) of a logistic regression; `l2` is the factor of `decays`."""

    def __init__(self, width: int, classes: int, l2: float):
        super().__init__()
        self.l2 = l2
        self.linear = nn.Linear(width, classes)
        variance_scaling_(self.linear.weight, fan_in=width)
        nn.init.zeros_(self.linear.bias)

    def forward(self, encoding: Tensor) -> Tensor:
        return self.linear(encoding).float()

    def decays(self) -> list[tuple[Tensor, float]]:
        return [(self.linear.weight, self.l2), (self.linear.bias, self.l2)]

    def scored(self, columns: Tensor) -> "Logistic":
        with torch.device("meta"):
            narrow = Logistic(self.linear.in_features, len(columns), self.l2)
        narrow.linear.weight = _rows(self.linear.weight, self.linear.out_features, columns)
        narrow.linear.bias = _rows(self.linear.bias, self.linear.out_features, columns)
        return narrow


def _rows(parameter: Tensor, classes: int, columns: Tensor) -> nn.Parameter:
    """The rows of these classes in a parameter whose rows are ordered by class."""
    by_class = parameter.detach().unflatten(0, (classes, -1))
    return nn.Parameter(by_class[columns].flatten(0, 1), requires_grad=False)
