"""The encoder of BERT: post-norm blocks of self-attention and a feed-forward layer.

Frames are its input directly, without position embeddings, mask or special tokens, so it is equivariant to the order of
frames. Shapes: B batch, T frames, D width, H heads.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from training.models.layers.initialisation import truncated_normal_

Projected = tuple[Tensor, ...]  # frames and their queries, keys and values: four of (..., T, D)


class TransformerBlock(nn.Module):
    def __init__(self, width: int, heads: int, intermediate: int, dropout: float):
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {width}; choose a number of heads that does")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.attended = nn.Linear(width, width)
        self.attended_norm = nn.LayerNorm(width, eps=1e-12)
        self.expand = nn.Linear(width, intermediate)
        self.contract = nn.Linear(intermediate, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(dropout)
        for linear in (self.query, self.key, self.value, self.attended, self.expand, self.contract):
            truncated_normal_(linear.weight, sd=0.02)
            nn.init.zeros_(linear.bias)

    def project(self, x: Tensor) -> Projected:
        """The part of the block that depends on single frames."""
        return x, self.query(x), self.key(x), self.value(x)

    def attend(self, x: Tensor, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
        """The rest of the block, for the frames of `x` and `query`, which may be fewer than those of `key` and `value`.

        `bias` (B, 1, 1, T) is added to the attention logits.
        """
        query, key, value = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (query, key, value))
        dropout = self.dropout.p if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, bias, dropout)  # (B, H, T, D / H)
        attended = self.attended(attended.transpose(1, 2).flatten(2))
        x = self.attended_norm(x + self.dropout(attended))
        expanded = F.gelu(self.expand(x), approximate="tanh")
        return self.norm(x + self.dropout(self.contract(expanded)))

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        return self.attend(*self.project(x), bias=bias)


class Transformer(nn.Module):
    """A stack of blocks, in the two halves of `WindowModel`."""

    def __init__(self, layers: int, width: int, heads: int, intermediate: int, dropout: float):
        super().__init__()
        blocks = nn.ModuleList(TransformerBlock(width, heads, intermediate, dropout) for _ in range(layers))
        self.blocks = cast(Sequence[TransformerBlock], blocks)

    def project(self, frames: Tensor) -> Projected:
        return self.blocks[0].project(frames)

    def attend(self, projected: Projected, kept: slice = slice(None)) -> Tensor:
        """The last block's output, computed for the frames `kept` only."""
        for block, following in pairwise(self.blocks):
            projected = following.project(block.attend(*projected))
        x, query, key, value = projected
        return self.blocks[-1].attend(x[:, kept], query[:, kept], key, value)
