"""How frames and descriptors are normalised."""

import torch
from torch import Tensor


def l2_normalise(x: Tensor, dim: int = -1) -> Tensor:
    """`x` divided by its L2 norm along `dim`; rows of zeros stay zero.

    A frame is normalised over all its modalities together, in every model and every stage.
    """
    return x * torch.rsqrt(x.square().sum(dim, keepdim=True).clamp_min(1e-12))
