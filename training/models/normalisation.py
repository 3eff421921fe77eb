"""How frames, descriptors and batches are normalised.

Shapes: B batch, T frames, D features or channels.
"""

import torch
from torch import Tensor, nn


def l2_normalise(x: Tensor, dim: int = -1) -> Tensor:
    """`x` divided by its L2 norm along `dim`; rows of zeros stay zero.

    A frame is normalised over all its modalities together, in every model and every stage.
    """
    return x * torch.rsqrt(x.square().sum(dim, keepdim=True).clamp_min(1e-12))


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation of the last axis, with the original's decay of 0.999; a frame may count several times."""

    def __init__(self, channels: int):
        super().__init__(channels, eps=1e-3, momentum=1 - 0.999)

    def forward(self, x: Tensor, frame_weights: Tensor | None = None) -> Tensor:
        """`x` (..., D) normalised; the statistics of a training batch count each row `frame_weights` (...) times."""
        if frame_weights is None or not self.training:
            return super().forward(x.flatten(0, -2)).view_as(x)
        rows, weights = x.float().flatten(0, -2), frame_weights.flatten().unsqueeze(-1)
        count = weights.sum()
        mean = (weights * rows).sum(0) / count
        variance = (weights * (rows - mean).square()).sum(0) / count
        with torch.no_grad():
            for running, now in ((self.running_mean, mean), (self.running_var, variance * count / (count - 1))):
                running.lerp_(now, self.momentum)  # pyright: ignore[reportOptionalMemberAccess, reportCallIssue, reportArgumentType]
            self.num_batches_tracked += 1  # pyright: ignore[reportOperatorIssue]
        normalised = (rows - mean) * torch.rsqrt(variance + self.eps) * self.weight + self.bias
        return normalised.view_as(x)
