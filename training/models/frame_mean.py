"""Beyond the paper: a multilayer perceptron on the mean frame of a segment, by the 21st place of the same challenge.

It has hidden layers of 2765 and 1662 there, with batch normalisation and swish. It ignores the order of frames and what
differs between them, so its errors are of another kind than a transformer's. Shapes: B batch, T frames, D features of a
frame, C classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, Self

from torch import Tensor, nn

from training.limits import Decay
from training.models.architecture import TorchArchitecture
from training.models.layers.heads import Logistic
from training.models.layers.initialisation import variance_scaling_
from training.models.layers.normalisation import BatchNorm, l2_normalise
from training.models.layers.pooling import weighted_mean
from training.models.window_model import WindowModel

L2 = 1e-6  # of the logistic regression; the mixtures of experts have it too


@dataclass(frozen=True)
class FrameMeanConfig(TorchArchitecture):
    """`hidden` are the widths of the hidden layers, the first first."""

    has_batch_norm: ClassVar[bool] = True

    hidden: tuple[int, ...] = (2765, 1662)
    batch_norm_decay: Decay = 0.999

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"FrameMeanConfig: hidden is {self.hidden}; give one or more widths of at least 1")

    @property
    def weighs_frames(self) -> bool:
        return True

    def with_batch_norm_decay(self, decay: float) -> Self:
        return replace(self, batch_norm_decay=decay)

    def build(self, widths: Mapping[str, int], classes: int, window: int) -> "FrameMean":
        return FrameMean(self, sum(widths.values()), classes)


class FrameMean(WindowModel):
    """A row of zeros is padding and counts 0 whatever its weight."""

    def __init__(self, config: FrameMeanConfig, width: int, classes: int):
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((width, *config.hidden)):
            linear, norm = nn.Linear(inputs, outputs, bias=False), BatchNorm(outputs)
            variance_scaling_(linear.weight, fan_in=inputs)
            norm.momentum = 1 - config.batch_norm_decay
            layers += [linear, norm, nn.SiLU()]
        self.hidden = nn.Sequential(*layers)
        self.head = Logistic(config.hidden[-1], classes, L2)

    def encode_frames(self, frames: Tensor, frame_weights: Tensor | None = None) -> tuple[Tensor, ...]:
        return (l2_normalise(frames),)

    def score_windows(self, encoded: tuple[Tensor, ...], frame_weights: Tensor | None = None) -> Tensor:
        (frames,) = encoded
        weights = (frames != 0).any(-1).to(frames.dtype)
        if frame_weights is not None:
            weights = weights * frame_weights
        return self.head(self.hidden(weighted_mean(frames, weights))).sigmoid()
