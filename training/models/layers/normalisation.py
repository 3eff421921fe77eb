"""L2 and batch normalisation.

Shapes: B batch, T frames, D features or channels.
"""

import torch
from torch import Tensor, distributed, nn


def l2_normalise(x: Tensor, dim: int = -1) -> Tensor:
    """`x` divided by its L2 norm along `dim`; rows of zeros stay zero.

    A frame is normalised over all its modalities together, in every model and every stage.
    """
    return x * torch.rsqrt(x.square().sum(dim, keepdim=True).clamp_min(1e-12))


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation of the last axis with weighted rows, and the original's decay of 0.999."""

    def __init__(self, channels: int):
        super().__init__(channels, eps=1e-3, momentum=1 - 0.999)

    def forward(self, x: Tensor, frame_weights: Tensor | None = None) -> Tensor:
        """`x` (..., D) normalised; batch statistics count each row `frame_weights` (...) times.

        Under torchrun the statistics are those of the whole batch, over all processes.
        """
        together = self.training and distributed.is_available() and distributed.is_initialized()
        if not self.training or (frame_weights is None and not together):
            return super().forward(x.flatten(0, -2)).view_as(x)
        if frame_weights is None:
            frame_weights = torch.ones_like(x[..., 0])
        rows, weights = x.float().flatten(0, -2), frame_weights.flatten().unsqueeze(-1)
        count = _summed(weights.sum(), together)
        mean = _summed((weights * rows).sum(0), together) / count
        variance = _summed((weights * (rows - mean).square()).sum(0), together) / count
        with torch.no_grad():
            for running, now in ((self.running_mean, mean), (self.running_var, variance * count / (count - 1))):
                running.lerp_(now, self.momentum)  # pyright: ignore[reportOptionalMemberAccess, reportCallIssue, reportArgumentType]
            self.num_batches_tracked += 1  # pyright: ignore[reportOperatorIssue]
        normalised = (rows - mean) * torch.rsqrt(variance + self.eps) * self.weight + self.bias
        return normalised.view_as(x)


def _summed(x: Tensor, together: bool) -> Tensor:
    """`x`, or its differentiable sum over all processes."""
    if not together:
        return x
    # torch deprecates its public differentiable all_reduce (torch.distributed.nn.functional) in favour of this one.
    from torch.distributed._functional_collectives import all_reduce

    return all_reduce(x, "sum", distributed.group.WORLD)  # pyright: ignore[reportArgumentType]
