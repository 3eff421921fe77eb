"""Beyond the paper: a segment scored from its frames, the frames around it, and an encoding of its whole video.

After the 7th place of the same challenge (github.com/ceshine/yt8m-2019), where models with and without the video
gained the most together. There the video's encoder is trained first and then frozen; here one network learns both.
Its video encoding is dropped at random in training, since video-level labels would otherwise teach it to ignore the
segment. Shapes: B batch, N frames of the segment and its surroundings, V frames spread over the video, T = N + V,
D features, H hidden width, A heads of the video's attention, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from training.limits import Count, Natural, Share
from training.models.architecture import TorchArchitecture
from training.models.layers.heads import MixtureOfExperts
from training.models.layers.initialisation import truncated_normal_
from training.models.layers.normalisation import l2_normalise
from training.models.layers.pooling import log_weights, weighted_mean
from training.models.layers.transformer import TransformerBlock
from training.models.window_model import WindowModel


@dataclass(frozen=True)
class ContextAwareConfig(TorchArchitecture):
    """`surroundings` frames are added on each side of a segment, `video_frames` are spread over the whole video."""

    surroundings: Natural = 3
    video_frames: Count = 50
    hidden: Count = 512
    layers: Count = 2
    heads: Count = 8
    intermediate: Count = 2048
    dropout: Share = 0.1
    video_dropout: Share = 0.25
    experts: Count = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a hidden width of {self.hidden}; choose a divisor")

    def window(self, segment_frames: int) -> int:
        """The number of frames of the model's input for one segment."""
        return segment_frames + 2 * self.surroundings + self.video_frames

    def build(self, widths: Mapping[str, int], classes: int, window: int) -> "ContextAware":
        if window <= self.window(0):
            raise ValueError(
                f"a window of {window} frames leaves none for the segment: {2 * self.surroundings} surround it and "
                f"{self.video_frames} are its video's; give the member the sampler of its config"
            )
        return ContextAware(self, sum(widths.values()), classes, window)


class ContextAware(WindowModel):
    """A window is the segment with its surroundings, in order, then frames spread over the video, in any order.

    A row of zeros is padding (before the video's start or after its end) and counts 0 whatever its weight.
    """

    def __init__(self, config: ContextAwareConfig, width: int, classes: int, window: int):
        super().__init__()
        self.near = window - config.video_frames
        self.segment = slice(config.surroundings, self.near - config.surroundings)
        self.project = nn.Linear(width, config.hidden)
        self.norm = nn.LayerNorm(config.hidden, eps=1e-12)
        self.video_attention = nn.Linear(config.hidden, config.heads, bias=False)
        self.video_dropout = nn.Dropout(config.video_dropout)
        self.places = nn.Parameter(torch.empty(1 + self.near, config.hidden))  # position embeddings: video, frames
        blocks = nn.ModuleList(
            TransformerBlock(config.hidden, config.heads, config.intermediate, config.dropout)
            for _ in range(config.layers)
        )
        self.blocks = cast(Sequence[TransformerBlock], blocks)
        self.head = MixtureOfExperts(2 * config.hidden, classes, config.experts)
        for weight in (self.project.weight, self.video_attention.weight, self.places):
            truncated_normal_(weight, sd=0.02)
        nn.init.zeros_(self.project.bias)

    def encode_frames(self, frames: Tensor, frame_weights: Tensor | None = None) -> tuple[Tensor, ...]:
        present = frames.any(-1).float()
        tokens = self.norm(self.project(l2_normalise(frames)))
        return present, tokens, self.video_attention(tokens)

    def score_windows(self, encoded: tuple[Tensor, ...], frame_weights: Tensor | None = None) -> Tensor:
        present, tokens, attention = encoded
        weights = present if frame_weights is None else present * frame_weights  # (B, T)
        near, far = slice(None, self.near), slice(self.near, None)
        video = self.pool(tokens[:, far], attention[:, far], weights[:, far])
        return self.read(tokens[:, near], weights[:, near], video)

    def score_indexed(self, encoded: tuple[Tensor, ...], index: Tensor, frame_weights: Tensor) -> Tensor:
        """Consecutive windows of one video share its V frames, which are pooled once."""
        present, tokens, attention = encoded
        near, far = index[:, : self.near], index[:, self.near :]
        video_frames = torch.stack([far.double(), frame_weights[:, self.near :].double()], dim=1)  # (B, 2, V)
        video_frames, which = torch.unique_consecutive(video_frames, dim=0, return_inverse=True)
        far, times = video_frames[:, 0].long(), video_frames[:, 1].float()
        video = self.pool(tokens[far], attention[far], present[far] * times)
        return self.read(tokens[near], present[near] * frame_weights[:, : self.near], video[which])

    def pool(self, tokens: Tensor, attention: Tensor, weights: Tensor) -> Tensor:
        """The encoding (B, H) of videos from V of their frames: each head averages its part of H by attention."""
        shares = (attention + log_weights(weights).unsqueeze(-1)).softmax(1)  # (B, V, A)
        groups = tokens.unflatten(-1, (shares.shape[-1], -1))  # (B, V, A, H / A)
        return (shares.unsqueeze(-1) * groups).sum(1).flatten(1)

    def read(self, tokens: Tensor, weights: Tensor, video: Tensor) -> Tensor:
        """Probabilities (B, C) from the N frames of a segment and its surroundings, and the video's encoding."""
        scale = self.video_dropout(torch.ones_like(video[:, :1]))
        hidden = torch.cat([(scale * video).unsqueeze(1), tokens], dim=1) + self.places
        bias = log_weights(torch.cat([torch.ones_like(scale), weights], dim=1))[:, None, None]
        *blocks, last = self.blocks
        for block in blocks:
            hidden = block(hidden, bias)
        # The head reads the video and the segment only, so the last block leaves out the surroundings.
        key, value = last.key(hidden), last.value(hidden)
        hidden = torch.cat([hidden[:, :1], hidden[:, 1:][:, self.segment]], dim=1)
        hidden = last.attend(hidden, last.query(hidden), key, value, bias)
        segment = weighted_mean(hidden[:, 1:], weights[:, self.segment])
        return self.head(torch.cat([segment, hidden[:, 0]], dim=-1))
