"""What an architecture in Keras must provide."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from training.models.architecture import Architecture

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class KerasArchitecture(Architecture):
    """Base of the configs whose model is a Keras model of features (B, T, D) and frame weights (B, T)."""

    framework: ClassVar[str] = "keras"

    def build(self, widths: Mapping[str, int], classes: int, window: int) -> "keras.Model":
        """A model of [features (B, T, D), frame weights (B, T)] that returns probabilities (B, C)."""
        raise NotImplementedError

    def parameters(self, widths: Mapping[str, int], classes: int) -> int:
        """The number of trainable parameters, computed without building: Keras allocates what it builds."""
        raise NotImplementedError

    def halves(self, model: "keras.Model") -> tuple[Callable, Callable]:
        """Two functions for inference: one encodes frames, one scores windows of encoded frames for some classes."""
        raise NotImplementedError

    def scored(self, model: "keras.Model", columns: np.ndarray) -> tuple[np.ndarray, ...]:
        """What the second half needs to score the classes `columns` (S,) with the model's current weights."""
        raise NotImplementedError
