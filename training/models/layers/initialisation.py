"""TensorFlow 1's initialisers, as the original uses them."""

from math import sqrt

from torch import Tensor, nn


def truncated_normal_(weight: Tensor, sd: float) -> None:
    """Normal with standard deviation `sd`, truncated at two standard deviations."""
    nn.init.trunc_normal_(weight, std=sd, a=-2 * sd, b=2 * sd)


def variance_scaling_(weight: Tensor, fan_in: int) -> None:
    """He initialisation as in TensorFlow 1: 1.3 compensates for the variance lost by truncation."""
    truncated_normal_(weight, sqrt(1.3 * 2 / fan_in))
