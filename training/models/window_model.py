"""Base of the torch models, which score windows of frames in two halves so that each frame is encoded only once.

Shapes: B batch, T frames of a window, D features of a frame (all modalities concatenated), C classes.
"""

import copy

from torch import Tensor, nn

from training.models.layers.heads import Head
from training.models.loss import binary_cross_entropy


class WindowModel(nn.Module):
    """Probabilities of all classes for windows of frames.

    `features` (B, T, D) are dequantised; the model normalises them. `frame_weights` (B, T) are how often each frame
    counts (0 for padding); None is once each. To score many windows of one video, call `encode_frames` on all its
    frames, then `score_indexed` on the result.
    """

    def encode_frames(self, frames: Tensor, frame_weights: Tensor | None = None) -> tuple[Tensor, ...]:
        """The computation on single frames (..., D), as tensors (..., anything).

        `frame_weights` (...) weigh batch statistics only: in evaluation mode they change nothing.
        """
        raise NotImplementedError

    def score_windows(self, encoded: tuple[Tensor, ...], frame_weights: Tensor | None = None) -> Tensor:
        """Probabilities (B, C) of windows from the encoding (B, T, anything) of their frames."""
        raise NotImplementedError

    def score_indexed(self, encoded: tuple[Tensor, ...], index: Tensor, frame_weights: Tensor) -> Tensor:
        """Probabilities (B, C) of windows whose frames are the rows `index` (B, T) of an encoding."""
        return self.score_windows(tuple(tensor[index] for tensor in encoded), frame_weights)

    def forward(self, features: Tensor, frame_weights: Tensor | None = None) -> Tensor:
        return self.score_windows(self.encode_frames(features, frame_weights), frame_weights)

    def loss(
        self, features: Tensor, frame_weights: Tensor | None, labels: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """The training loss without the L2 terms of `decays`, averaged over the batch.

        `labels` (B, C) are in 0..1; `mask` (B, C) weighs each class of each window, None is 1 everywhere.
        """
        return binary_cross_entropy(self(features, frame_weights), labels, mask)

    def heads(self) -> dict[str, Head]:
        return {name: part for name, part in self.named_modules() if isinstance(part, Head)}

    def decays(self) -> list[tuple[Tensor, float]]:
        """The parameters with an L2 term in the loss, and its factor (`Head.decays`)."""
        return [decay for head in self.heads().values() for decay in head.decays()]

    def scored(self, columns: Tensor) -> "WindowModel":
        """This model for inference, restricted to the classes `columns` (ids) in that order.

        Only the heads' rows are copied; all other weights are shared with this model.
        """
        shared = {id(tensor): tensor for tensor in (*self.parameters(), *self.buffers())}
        heads = self.heads()
        narrow = copy.deepcopy(self, shared)
        for name, head in heads.items():
            narrow.set_submodule(name, head.scored(columns))
        return narrow.eval()
