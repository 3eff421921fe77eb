"""The original's initialisers that torch does not have under these names."""

from math import sqrt

from torch import Tensor, nn


def truncated_normal_(weight: Tensor, sd: float) -> None:
    """Normal of standard deviation `sd` before everything beyond two of them is drawn again."""
    nn.init.trunc_normal_(weight, std=sd, a=-2 * sd, b=2 * sd)


def variance_scaling_(weight: Tensor, fan_in: int) -> None:
    """He's initialiser as TensorFlow 1 has it: 1.3 makes up for the variance that the truncation takes away."""
    truncated_normal_(weight, sqrt(1.3 * 2 / fan_in))
