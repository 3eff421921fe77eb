"""The loss that all models share."""

from torch import Tensor, nn

from training.models.window_model import WindowModel


def binary_cross_entropy(probabilities: Tensor, labels: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over the batch of the sum over classes of -[y log(p + 1e-5) + (1 - y) log(1 - p + 1e-5)].

    All are (B, C). `mask` is how much each class of each window counts: 0 leaves it out, None means 1 everywhere.
    """
    p, y = probabilities.float(), labels.float()
    entropy = -(y * (p + 1e-5).log() + (1 - y) * (1 - p + 1e-5).log())
    if mask is not None:
        entropy = entropy * mask
    return entropy.sum(-1).mean()


class Objective(nn.Module):
    """The loss of a model as a module, which is what can be compiled and shared among processes."""

    def __init__(self, module: WindowModel):
        super().__init__()
        self.module = module

    def forward(self, features: Tensor, frame_weights: Tensor | None, labels: Tensor, mask: Tensor | None) -> Tensor:
        if hasattr(self.module, "loss"):  # branches that learn from each other have a loss of their own
            return self.module.loss(features, frame_weights, labels, mask)  # pyright: ignore[reportCallIssue]
        return binary_cross_entropy(self.module(features, frame_weights), labels, mask)
