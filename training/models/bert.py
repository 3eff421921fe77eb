"""BERT over the frames of a window: members BERT, BERTMean and BERTFirst.

A transformer on the normalised frames, a pooling of its output, a mixture of experts. There is no position embedding,
so mean and attention pooling ignore the order of frames. Shapes: B batch, T frames, D features, C classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from training.limits import Count, Share
from training.models.architecture import TorchArchitecture
from training.models.layers.heads import MixtureOfExperts
from training.models.layers.normalisation import l2_normalise
from training.models.layers.pooling import Kind, Pooling
from training.models.layers.transformer import Transformer
from training.models.window_model import WindowModel


@dataclass(frozen=True)
class BertConfig(TorchArchitecture):
    layers: Count = 2
    heads: Count = 12
    pooling: Kind = "concat"
    intermediate: Count = 3072
    dropout: Share = 0.1
    experts: Count = 5

    def build(self, widths: Mapping[str, int], classes: int, window: int) -> "Bert":
        return Bert(self, sum(widths.values()), classes, window)


class Bert(WindowModel):
    """Every frame of the window counts once, padding included, as in the original: frame weights are ignored."""

    def __init__(self, config: BertConfig, width: int, classes: int, window: int):
        super().__init__()
        self.encoder = Transformer(config.layers, width, config.heads, config.intermediate, config.dropout)
        self.pooling = Pooling(config.pooling, width, window)
        self.head = MixtureOfExperts(self.pooling.width, classes, config.experts)

    def encode_frames(self, frames: Tensor, frame_weights: Tensor | None = None) -> tuple[Tensor, ...]:
        return self.encoder.project(l2_normalise(frames))

    def score_windows(self, encoded: tuple[Tensor, ...], frame_weights: Tensor | None = None) -> Tensor:
        hidden = self.encoder.attend(encoded, self.pooling.kept)
        return self.head(self.pooling(hidden))
