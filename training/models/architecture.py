"""What every architecture declares to the rest of training; a config overrides what is different for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from training.limits import Limited

if TYPE_CHECKING:
    import keras

    from training.models.window_model import WindowModel


@dataclass(frozen=True)
class Architecture(Limited):
    """Base of the configs: frozen dataclasses of hyper-parameters, checked against their fields' limits."""

    # Name of its kind, a key of `training.fit.kinds.KINDS`.
    framework: ClassVar[str]
    # Version of the order of weights or features; part of the stage's digest, so no checkpoint of another one is read.
    layout: ClassVar[int | None] = None
    least_modalities: ClassVar[int] = 1
    # Whether training uses batch statistics: accumulating a batch in parts then changes the result.
    has_batch_norm: ClassVar[bool] = False
    # Whether it is pre-trained on video-level labels.
    pretrains: ClassVar[bool] = True

    @property
    def builds_on(self) -> tuple[str, ...]:
        """Names of the members of the same line-up that it builds on."""
        return ()

    @property
    def weighs_frames(self) -> bool:
        """Whether training on a frame of weight 2 equals training on that frame twice."""
        return False

    def with_batch_norm_decay(self, decay: float) -> Self:
        """The same config with another decay of the moving averages; itself if it has no batch normalisation."""
        return self


@dataclass(frozen=True)
class TorchArchitecture(Architecture):
    """Base of the configs whose model is a `WindowModel`."""

    framework: ClassVar[str] = "torch"

    def build(self, widths: Mapping[str, int], classes: int, window: int) -> "WindowModel":
        """A freshly initialised model for modalities of these `widths` and windows of `window` frames.

        ValueError if the dataset allows no such model, such as too few modalities.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class KerasArchitecture(Architecture):
    """Base of the configs whose model is a Keras model."""

    framework: ClassVar[str] = "keras"

    def build(self, widths: Mapping[str, int], classes: int, window: int) -> "keras.Model":
        """A model of [features (B, T, D), frame weights (B, T)] that returns probabilities (B, C)."""
        raise NotImplementedError

    def parameters(self, widths: Mapping[str, int], classes: int) -> int:
        """The number of trainable parameters, computed without building: Keras allocates what it builds."""
        raise NotImplementedError

    def halves(self, model: "keras.Model") -> tuple[Callable, Callable]:
        """The model for inference as two functions that share its weights, so a frame is encoded only once.

        The first maps frames (F, D) to tensors (F, anything). The second takes those of the frames of windows
        (B, T, anything), frame weights (B, T) and the arrays of `scored`, and returns the scores of these classes.
        """
        raise NotImplementedError

    def scored(self, model: "keras.Model", columns: np.ndarray) -> tuple[np.ndarray, ...]:
        """What the second half needs to score the classes `columns` (S,) with the model's current weights."""
        raise NotImplementedError
