"""Pooling of a transformer's output frames to one vector per window.

The paper's member "first" takes the last frame in its published code. Here `first` is the first and `last` the last.
Shapes: B batch, T frames, D width.
"""

from math import sqrt
from typing import Literal

import torch
from torch import Tensor, nn

Kind = Literal["concat", "first", "last", "mean", "attention"]


class Pooling(nn.Module):
    """Pools (B, T, D) to (B, `width`); only the frames `kept` are read, others need not be computed."""

    def __init__(self, kind: Kind, width: int, window: int):
        super().__init__()
        self.kind = kind
        self.window = window
        self.width = width * window if kind == "concat" else width
        self.kept = {"first": slice(0, 1), "last": slice(-1, None)}.get(kind, slice(None))
        if kind == "attention":
            limit = sqrt(6 / (width + 1))
            self.attention = nn.Parameter(torch.empty(width).uniform_(-limit, limit))

    def forward(self, frames: Tensor) -> Tensor:
        if self.kind == "concat":
            if frames.shape[1] != self.window:
                raise ValueError(
                    f"concat pooling was built for windows of {self.window} frames and met {frames.shape[1]}; "
                    "build the model with that window"
                )
            return frames.flatten(1)
        if self.kind == "mean":
            return frames.mean(1)
        if self.kind == "attention":
            # The published code scales as attention does; the paper's Eq. 5 does not.
            shares = (frames @ self.attention / sqrt(frames.shape[-1])).softmax(-1)  # (B, T)
            return (shares.unsqueeze(-1) * frames).sum(1)
        return frames.squeeze(1)  # first, last: the one frame kept


def weighted_mean(frames: Tensor, weights: Tensor) -> Tensor:
    """The mean (B, D) of `frames` (B, T, D) with `weights` (B, T); zeros where all weights are 0."""
    return (weights.unsqueeze(-1) * frames).sum(1) / weights.sum(1, keepdim=True).clamp_min(1e-6)


def log_weights(weights: Tensor) -> Tensor:
    """Term for the attention logits: a frame of weight 2 then equals two frames, one of weight 0 none."""
    return weights.clamp_min(1e-30).log()
