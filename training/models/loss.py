"""The losses that models share: of labels, unless they define their own (`WindowModel.loss`), and of consistency."""

from torch import Tensor


def binary_cross_entropy(probabilities: Tensor, labels: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over the batch of the sum over classes of -[y log(p + 1e-5) + (1 - y) log(1 - p + 1e-5)].

    All are (B, C). `mask` is how much each class of each window counts: 0 leaves it out, None means 1 everywhere.
    """
    p, y = probabilities.float(), labels.float()
    entropy = -(y * (p + 1e-5).log() + (1 - y) * (1 - p + 1e-5).log())
    if mask is not None:
        entropy = entropy * mask
    return entropy.sum(-1).mean()


def bernoulli_divergence(target: Tensor, predicted: Tensor) -> Tensor:
    """Mean over the batch of the sum over classes of KL(target || predicted), of one Bernoulli variable per class.

    Both are probabilities (B, C). Logarithms have the 1e-5 of `binary_cross_entropy`.
    """
    return binary_cross_entropy(predicted, target) - binary_cross_entropy(target, target)
