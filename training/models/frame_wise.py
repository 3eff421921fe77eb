"""Beyond the paper: every frame is classified, seeing the frames around it, and the frames' probabilities are pooled.

A video-level label does not say which frames show the class. The members of the paper take every window of the video as
an example of it; this one is pre-trained on wide windows whose pooled frames must explain the label, and so learns by
itself which of them do (multiple-instance learning, as in sound event detection with weak labels). The pooling is the
linear softmax of Wang, Li and Metze (ICASSP 2019, "A comparison of five multiple instance learning pooling functions"),
in which confident frames receive most of the gradient. In fine-tuning and prediction only the segment's frames are
pooled. Shapes: B batch, T frames of a window, D features, H hidden width, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from training.limits import Count, Natural, Share
from training.models.architecture import TorchArchitecture
from training.models.layers.heads import Logistic
from training.models.layers.initialisation import truncated_normal_
from training.models.layers.normalisation import l2_normalise
from training.models.layers.pooling import log_weights
from training.models.layers.transformer import TransformerBlock
from training.models.window_model import WindowModel

L2 = 1e-6  # of the logistic regression; the mixtures of experts have it too
RARE = -4.0  # logit of a class at the start of training: most classes are in few videos


@dataclass(frozen=True)
class FrameWiseConfig(TorchArchitecture):
    """`surroundings` frames are added on each side of a segment: give the member a sampler that adds as many."""

    surroundings: Natural = 10
    hidden: Count = 768
    layers: Count = 2
    heads: Count = 12
    intermediate: Count = 3072
    dropout: Share = 0.1

    def build(self, widths: Mapping[str, int], classes: int, window: int) -> "FrameWise":
        if window <= 2 * self.surroundings:
            raise ValueError(
                f"a window of {window} frames leaves none for the segment, which {2 * self.surroundings} surround; "
                "give the member a sampler with the surroundings of its config"
            )
        return FrameWise(self, sum(widths.values()), classes, window)


class FrameWise(WindowModel):
    """A window is the segment with its surroundings, in order; rows of zeros are padding, which nothing attends to.

    `frame_weights` say which frames are pooled, None those of the segment. Outside training no others are.
    """

    def __init__(self, config: FrameWiseConfig, width: int, classes: int, window: int):
        super().__init__()
        self.segment = slice(config.surroundings, window - config.surroundings)
        self.project = nn.Linear(width, config.hidden)
        self.norm = nn.LayerNorm(config.hidden, eps=1e-12)
        self.places = nn.Parameter(torch.empty(window, config.hidden))  # position embeddings
        blocks = nn.ModuleList(
            TransformerBlock(config.hidden, config.heads, config.intermediate, config.dropout)
            for _ in range(config.layers)
        )
        self.blocks = cast(Sequence[TransformerBlock], blocks)
        self.head = Logistic(config.hidden, classes, L2)
        for weight in (self.project.weight, self.places):
            truncated_normal_(weight, sd=0.02)
        nn.init.zeros_(self.project.bias)
        nn.init.constant_(self.head.linear.bias, RARE)

    def encode_frames(self, frames: Tensor, frame_weights: Tensor | None = None) -> tuple[Tensor, ...]:
        return frames.any(-1).float(), self.norm(self.project(l2_normalise(frames)))

    def score_windows(self, encoded: tuple[Tensor, ...], frame_weights: Tensor | None = None) -> Tensor:
        present, hidden = encoded
        hidden = hidden + self.places
        weights = frame_weights if self.training else None
        pooled = present if weights is None else present * weights
        if weights is not None:
            # Padding is most of a wide window in a short clip: no more rows than the fullest window has are computed.
            order = present.argsort(dim=1, descending=True, stable=True)[:, : int(present.sum(1).max())]
            hidden = hidden.take_along_dim(order.unsqueeze(-1), dim=1)
            present, pooled = (tensor.take_along_dim(order, dim=1) for tensor in (present, pooled))
        bias = log_weights(present)[:, None, None]
        for block in self.blocks:
            hidden = block(hidden, bias)
        if weights is None:
            hidden, pooled = hidden[:, self.segment], pooled[:, self.segment]
        probabilities = self.head(hidden).sigmoid()  # (B, T, C)
        shares = pooled.unsqueeze(-1) * probabilities
        return (shares * probabilities).sum(1) / shares.sum(1).clamp_min(1e-6)
