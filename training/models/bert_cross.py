"""BERTCross: one transformer per modality, then one over their concatenation.

"L2" is one block per modality and one block over both. Modalities are concatenated along the features of each frame,
not as further frames. Shapes: B batch, T frames, D features, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from training.limits import Count, Share, Two
from training.models.architecture import TorchArchitecture
from training.models.layers.heads import MixtureOfExperts
from training.models.layers.normalisation import l2_normalise
from training.models.layers.pooling import Kind, Pooling
from training.models.layers.transformer import Transformer
from training.models.window_model import WindowModel


@dataclass(frozen=True)
class BertCrossConfig(TorchArchitecture):
    least_modalities: ClassVar[int] = 2

    layers: Two = 2  # the last is the joint one
    heads: Count = 8
    pooling: Kind = "mean"
    intermediate: Count = 3072
    dropout: Share = 0.1
    experts: Count = 5

    def build(self, widths: Mapping[str, int], classes: int, window: int) -> "BertCross":
        if len(widths) < self.least_modalities:
            raise ValueError(f"BERTCross needs two modalities and there is only {', '.join(widths)}")
        return BertCross(self, list(widths.values()), classes, window)


class BertCross(WindowModel):
    """Every frame of the window counts once, padding included, as in the original: frame weights are ignored."""

    def __init__(self, config: BertCrossConfig, widths: list[int], classes: int, window: int):
        super().__init__()
        self.widths = widths

        def transformer(layers: int, width: int) -> Transformer:
            return Transformer(layers, width, config.heads, config.intermediate, config.dropout)

        modalities = nn.ModuleList(transformer(config.layers - 1, width) for width in widths)
        self.modalities = cast(Sequence[Transformer], modalities)
        self.joint = transformer(1, sum(widths))
        self.pooling = Pooling(config.pooling, sum(widths), window)
        self.head = MixtureOfExperts(self.pooling.width, classes, config.experts)

    def encode_frames(self, frames: Tensor, frame_weights: Tensor | None = None) -> tuple[Tensor, ...]:
        parts = l2_normalise(frames).split(self.widths, dim=-1)  # normalised over all modalities together
        projected = [encoder.project(part) for encoder, part in zip(self.modalities, parts, strict=True)]
        return tuple(tensor for four in projected for tensor in four)

    def score_windows(self, encoded: tuple[Tensor, ...], frame_weights: Tensor | None = None) -> Tensor:
        fours = zip(*[iter(encoded)] * 4, strict=True)
        hidden = torch.cat([encoder.attend(four) for encoder, four in zip(self.modalities, fours, strict=True)], dim=-1)
        hidden = self.joint.attend(self.joint.project(hidden), self.pooling.kept)
        return self.head(self.pooling(hidden))
