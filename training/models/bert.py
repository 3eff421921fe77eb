"""BERT over the frames of a window: members BERT, BERTMean and BERTFirst.

A transformer on the normalised frames, a pooling of its output, a mixture of experts. Nothing tells a frame's place:
mean and attention pooling see a set of frames. Shapes: B batch, T frames, D features, C classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from torch import Tensor

from training.limits import at_least, at_most, one_of
from training.models.layers.heads import MixtureOfExperts
from training.models.layers.normalisation import l2_normalise
from training.models.layers.pooling import Kind, Pooling
from training.models.layers.transformer import Transformer
from training.models.window_model import TorchArchitecture, WindowModel


@dataclass(frozen=True)
class BertConfig(TorchArchitecture):
    layers: int = 2
    heads: int = 12
    pooling: Kind = "concat"
    intermediate: int = 3072
    dropout: float = 0.1
    experts: int = 5

    def __post_init__(self) -> None:
        at_least(self, 1, layers=self.layers, heads=self.heads, intermediate=self.intermediate, experts=self.experts)
        one_of(self, get_args(Kind), pooling=self.pooling)
        at_least(self, 0, dropout=self.dropout)
        at_most(self, 1, dropout=self.dropout)

    def build(self, widths: Mapping[str, int], classes: int, window: int) -> "Bert":
        return Bert(self, sum(widths.values()), classes, window)


class Bert(WindowModel):
    """Every frame of the window counts once, padding too, as in the original: frame weights are not looked at."""

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
