"""BERT over the frames of a window: members BERT, BERTMean and BERTFirst.

A transformer on the normalised frames, a pooling of its output, a mixture of experts. There is no position embedding,
so mean and attention pooling ignore the order of frames. Shapes: B batch, T frames, D features, C classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.limits import Count, Share, later
from training.models.architecture import TorchArchitecture
from training.models.layers.heads import MixtureOfExperts
from training.models.layers.initialisation import truncated_normal_
from training.models.layers.normalisation import l2_normalise
from training.models.layers.pooling import Kind, Pooling
from training.models.layers.transformer import Transformer
from training.models.window_model import WindowModel


@dataclass(frozen=True)
class BertConfig(TorchArchitecture):
    """`masked` is the share of frames that are hidden from the model in a second task while it learns (`Bert.loss`)."""

    layers: Count = 2
    heads: Count = 12
    pooling: Kind = "concat"
    intermediate: Count = 3072
    dropout: Share = 0.1
    experts: Count = 5
    masked: Share = later(0.0)

    def build(self, widths: Mapping[str, int], classes: int, window: int) -> "Bert":
        return Bert(self, sum(widths.values()), classes, window)


class Bert(WindowModel):
    """Every frame of the window counts once, padding included, as in the original: frame weights are ignored."""

    def __init__(self, config: BertConfig, width: int, classes: int, window: int):
        super().__init__()
        self.encoder = Transformer(config.layers, width, config.heads, config.intermediate, config.dropout)
        self.pooling = Pooling(config.pooling, width, window)
        self.head = MixtureOfExperts(self.pooling.width, classes, config.experts)
        self.masked = config.masked
        if config.masked:
            self.mask = nn.Parameter(torch.empty(width))
            self.reconstruct = nn.Linear(width, width)
            for weight in (self.mask, self.reconstruct.weight):
                truncated_normal_(weight, sd=0.02)
            nn.init.zeros_(self.reconstruct.bias)

    def encode_frames(self, frames: Tensor, frame_weights: Tensor | None = None) -> tuple[Tensor, ...]:
        return self.encoder.project(l2_normalise(frames))

    def score_windows(self, encoded: tuple[Tensor, ...], frame_weights: Tensor | None = None) -> Tensor:
        hidden = self.encoder.attend(encoded, self.pooling.kept)
        return self.head(self.pooling(hidden))

    def loss(
        self, features: Tensor, frame_weights: Tensor | None, labels: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """`WindowModel.loss`, and that of masked frames: one of the paper's future directions.

        A second pass sees the windows with a random share `masked` of the frames replaced by a learned vector, and its
        output there is to point in the direction of the frame: 1 - cosine, averaged over masked frames. It is a term
        of the loss and not a stage of its own, so it needs no further schedule, and labels are learned from whole
        windows. It is in the loss of fine-tuning too, where it keeps the encoder close to what it has learned.
        """
        loss = super().loss(features, frame_weights, labels, mask)
        return loss + self.reconstruction(features) if self.masked else loss

    def reconstruction(self, features: Tensor) -> Tensor:
        """The mean of 1 - cosine over masked frames of windows (B, T, D); padding is not masked."""
        frames = l2_normalise(features)
        is_masked = (torch.rand_like(frames[..., 0]) < self.masked) & (frames != 0).any(-1)
        hidden = torch.where(is_masked.unsqueeze(-1), l2_normalise(self.mask), frames)
        output = self.reconstruct(self.encoder.attend(self.encoder.project(hidden)))
        cosine = (l2_normalise(output.float()) * frames).sum(-1)
        return ((1 - cosine) * is_masked).sum() / is_masked.sum().clamp_min(1)
