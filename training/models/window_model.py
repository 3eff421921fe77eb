"""What every torch model is: a scorer of windows of frames, in two halves so that a frame is encoded only once.

Shapes: B batch, T frames of a window, D features of a frame (all modalities side by side), C classes.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from training.models.architecture import Architecture
from training.models.layers.heads import Head
from training.models.loss import binary_cross_entropy


class WindowModel(nn.Module):
    """Probabilities of all classes for windows of frames.

    `features` (B, T, D) are dequantised, not normalised: the model does that itself. `frame_weights` (B, T) say how
    often each frame counts (0: it is not there); None means once each. To score many windows of one video, call
    `encode_frames` on all its frames, and `score_indexed` with what it returns.
    """

    def encode_frames(self, frames: Tensor, frame_weights: Tensor | None = None) -> tuple[Tensor, ...]:
        """The work that each of `frames` (..., D) needs by itself, as tensors (..., anything).

        `frame_weights` (...) count for batch statistics alone: in evaluation mode they change nothing.
        """
        raise NotImplementedError

    def score_windows(self, encoded: tuple[Tensor, ...], frame_weights: Tensor | None = None) -> Tensor:
        """Probabilities (B, C) of windows, given what `encode_frames` returned for their frames (B, T, anything)."""
        raise NotImplementedError

    def score_indexed(self, encoded: tuple[Tensor, ...], index: Tensor, frame_weights: Tensor) -> Tensor:
        """Probabilities (B, C) of windows whose frames are the rows `index` (B, T) of what `encode_frames` returned."""
        return self.score_windows(tuple(tensor[index] for tensor in encoded), frame_weights)

    def forward(self, features: Tensor, frame_weights: Tensor | None = None) -> Tensor:
        return self.score_windows(self.encode_frames(features, frame_weights), frame_weights)

    def loss(
        self, features: Tensor, frame_weights: Tensor | None, labels: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """The loss to train with, without the L2 terms of `decays`: a scalar, the mean over the batch.

        `labels` (B, C) are in 0..1; `mask` (B, C) weighs each class of each window, None is 1 everywhere.
        """
        return binary_cross_entropy(self(features, frame_weights), labels, mask)

    def heads(self) -> dict[str, Head]:
        return {name: part for name, part in self.named_modules() if isinstance(part, Head)}

    def decays(self) -> list[tuple[Tensor, float]]:
        """The parameters with an L2 term in the loss, and its factor (`Head.decays`)."""
        return [decay for head in self.heads().values() for decay in head.decays()]

    def scored(self, columns: Tensor) -> "WindowModel":
        """This model for inference on the classes `columns` (their ids) alone, in that order.

        Only the heads' rows are copied; every other weight is shared with this model.
        """
        shared = {id(tensor): tensor for tensor in (*self.parameters(), *self.buffers())}
        heads = self.heads()
        narrow = copy.deepcopy(self, shared)
        for name, head in heads.items():
            narrow.set_submodule(name, head.scored(columns))
        return narrow.eval()


@dataclass(frozen=True)
class TorchArchitecture(Architecture):
    """Base of the configs whose model is a `WindowModel`."""

    framework: ClassVar[str] = "torch"

    def build(self, widths: Mapping[str, int], classes: int, window: int) -> WindowModel:
        """A freshly initialised model for modalities of these `widths` and windows of `window` frames.

        ValueError if the dataset allows no such model, such as too few modalities.
        """
        raise NotImplementedError
