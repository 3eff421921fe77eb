"""MixNeXtVLAD: three NeXtVLAD networks, mixed by a gate and distilled from their mixture.

NeXtVLAD expands each frame, splits it into groups, weighs the groups by attention, and softly assigns each group to
clusters, as NetVLAD assigns whole frames. As in the published code, BatchNorm replaces biases and follows the
descriptor. Shapes: B batch, T frames, F width of a modality, G groups, K clusters, J width of a group of an expanded
frame, M branches, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self, cast

import torch
from torch import Tensor, nn

from training.limits import Count, Decay, NonNegative, Positive, Share, Two
from training.models.architecture import TorchArchitecture
from training.models.layers.heads import Logistic
from training.models.layers.initialisation import variance_scaling_
from training.models.layers.normalisation import BatchNorm, l2_normalise
from training.models.layers.pooling import weighted_mean
from training.models.loss import binary_cross_entropy
from training.models.window_model import WindowModel


@dataclass(frozen=True)
class MixNeXtVladConfig(TorchArchitecture):
    """`clusters` and `groups` are those of the first modality; further modalities have half as many of both.

    The gate reads the window's mean frame, as in the paper, or each frame's mean over its features (`frame_means`),
    as in the published code. `branch_loss` adds each branch's own cross-entropy (the paper's Eq. 19), which the
    published code leaves out.
    """

    has_batch_norm: ClassVar[bool] = True

    branches: Count = 3
    clusters: Two = 112
    groups: Two = 8
    expansion: Count = 2
    hidden: Count = 2048
    gating_reduction: Count = 16
    dropout: Share = 0.5
    temperature: Positive = 3.0
    distillation: NonNegative = 9.0  # the temperature squared
    gate: Literal["mean_frame", "frame_means"] = "mean_frame"
    branch_loss: bool = True
    logistic_l2: NonNegative = 1e-8  # effective value of the published code; its script and NeXtVLAD's authors say 1e-5
    batch_norm_decay: Decay = 0.999  # of the moving averages; training for few steps needs a smaller one

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden < self.gating_reduction:
            raise ValueError(f"hidden is {self.hidden}; give at least gating_reduction, {self.gating_reduction}")

    @property
    def weighs_frames(self) -> bool:
        return self.gate == "mean_frame"  # the other gate depends on the order in which frames are drawn

    def with_batch_norm_decay(self, decay: float) -> Self:
        return replace(self, batch_norm_decay=decay)

    def build(self, widths: Mapping[str, int], classes: int, window: int) -> "MixNeXtVlad":
        return MixNeXtVlad(self, list(widths.values()), classes, window)


class NeXtVlad(nn.Module):
    """The descriptor (B, K * J) of one modality's frames (B, T, F)."""

    def __init__(self, width: int, clusters: int, groups: int, expansion: int):
        super().__init__()
        expanded = expansion * width
        if expanded % groups:
            raise ValueError(f"{groups} groups do not divide {expanded} features; choose a number of groups that does")
        self.groups, self.clusters = groups, clusters
        self.expand = _linear(width, expanded, bias=True)
        self.attention = _linear(expanded, groups, bias=True)
        self.assign = _linear(expanded, groups * clusters)
        self.assign_norm = BatchNorm(groups * clusters)
        self.anchors = nn.Parameter(torch.empty(clusters, expanded // groups))
        variance_scaling_(self.anchors, fan_in=expanded // groups)
        self.norm = BatchNorm(clusters * expanded // groups)

    def encode(self, frames: Tensor, frame_weights: Tensor | None) -> tuple[Tensor, Tensor]:
        """Each frame's groups (..., G, J) and their assignment to clusters times attention (..., G, K)."""
        expanded = self.expand(frames)
        attention = self.attention(expanded).sigmoid().unsqueeze(-1)
        logits = self.assign_norm(self.assign(expanded), frame_weights).unflatten(-1, (self.groups, self.clusters))
        return expanded.unflatten(-1, (self.groups, -1)), logits.softmax(-1) * attention

    def describe(self, groups: Tensor, shares: Tensor, frame_weights: Tensor | None) -> Tensor:
        """The residuals of a window's groups to the anchors, summed per cluster and normalised: (B, K * J)."""
        if frame_weights is not None:
            shares = shares * frame_weights[:, :, None, None]
        groups, shares = groups.flatten(1, 2), shares.flatten(1, 2)  # (B, T * G, J), (B, T * G, K)
        residuals = shares.mT @ groups - shares.sum(1).unsqueeze(-1) * self.anchors  # (B, K, J)
        return self.norm(l2_normalise(residuals).flatten(1))


class Branch(nn.Module):
    """One network of the mixture: a descriptor per modality, a hidden layer with gates, a logit per class."""

    def __init__(self, config: MixNeXtVladConfig, widths: Sequence[int], classes: int):
        super().__init__()
        modalities = [
            NeXtVlad(width, config.clusters // halves, config.groups // halves, config.expansion)
            for width, halves in zip(widths, [1] + [2] * (len(widths) - 1), strict=True)
        ]
        self.modalities = cast(Sequence[NeXtVlad], nn.ModuleList(modalities))
        self.dropout = nn.Dropout(config.dropout)
        self.hidden = _linear(sum(part.anchors.numel() for part in modalities), config.hidden)
        self.hidden_norm = BatchNorm(config.hidden)
        self.squeeze = _linear(config.hidden, config.hidden // config.gating_reduction)
        self.squeeze_norm = BatchNorm(config.hidden // config.gating_reduction)
        self.excite = _linear(config.hidden // config.gating_reduction, config.hidden)
        self.head = Logistic(config.hidden, classes, config.logistic_l2)

    def forward(self, encoded: Sequence[tuple[Tensor, Tensor]], frame_weights: Tensor | None) -> Tensor:
        described = [
            modality.describe(groups, shares, frame_weights)
            for modality, (groups, shares) in zip(self.modalities, encoded, strict=True)
        ]
        hidden = self.hidden_norm(self.hidden(self.dropout(torch.cat(described, dim=-1))))
        gates = self.excite(self.squeeze_norm(self.squeeze(hidden)).relu()).sigmoid()
        return self.head(hidden * gates)


class MixNeXtVlad(WindowModel):
    def __init__(self, config: MixNeXtVladConfig, widths: Sequence[int], classes: int, window: int):
        super().__init__()
        self.config, self.widths, self.window = config, list(widths), window
        branches = nn.ModuleList(Branch(config, widths, classes) for _ in range(config.branches))
        self.branches = cast(Sequence[Branch], branches)
        gate_width = sum(widths) if config.gate == "mean_frame" else window
        self.gate_norm = BatchNorm(gate_width)
        self.gate = _linear(gate_width, config.branches, bias=True)
        for part in self.modules():
            if isinstance(part, BatchNorm):
                part.momentum = 1 - config.batch_norm_decay

    def encode_frames(self, frames: Tensor, frame_weights: Tensor | None = None) -> tuple[Tensor, ...]:
        frames = l2_normalise(frames)
        parts = frames.split(self.widths, dim=-1)
        pairs = [
            modality.encode(part, frame_weights)
            for branch in self.branches
            for modality, part in zip(branch.modalities, parts, strict=True)
        ]
        return frames, *(tensor for pair in pairs for tensor in pair)

    def score_windows(self, encoded: tuple[Tensor, ...], frame_weights: Tensor | None = None) -> Tensor:
        return self.logits(encoded, frame_weights)[0].sigmoid()

    def logits(self, encoded: tuple[Tensor, ...], frame_weights: Tensor | None) -> tuple[Tensor, Tensor]:
        """Logits of the mixture (B, C) and of its branches (B, M, C)."""
        frames, *rest = encoded
        parts = iter(rest)  # per branch and modality: groups, then shares
        branches = [
            branch([(next(parts), next(parts)) for _ in self.widths], frame_weights) for branch in self.branches
        ]
        branch_logits = torch.stack(branches, dim=1)
        shares = self.gate(self.gate_norm(self._gate_input(frames, frame_weights))).float().softmax(-1)  # (B, M)
        return (shares.unsqueeze(-1) * branch_logits).sum(1), branch_logits

    def loss(
        self, features: Tensor, frame_weights: Tensor | None, labels: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Cross-entropies of the mixture and the branches, and the divergence between them; see `WindowModel.loss`."""
        mixed, branches = self.logits(self.encode_frames(features, frame_weights), frame_weights)
        loss = binary_cross_entropy(mixed.sigmoid(), labels, mask)
        if self.config.branch_loss:
            for branch in branches.unbind(1):
                loss = loss + binary_cross_entropy(branch.sigmoid(), labels, mask)
        return loss + self.config.distillation * divergence(mixed, branches, self.config.temperature)

    def _gate_input(self, frames: Tensor, frame_weights: Tensor | None) -> Tensor:
        if self.config.gate == "mean_frame":
            if frame_weights is None:
                return frames.mean(1)
            return weighted_mean(frames, frame_weights)
        means = frames.mean(-1)  # (B, T), in the order of the draws
        if frame_weights is not None:
            # Each frame is repeated as often as it is drawn: frame i takes the positions up to its cumulative weight.
            positions = torch.arange(self.window, device=frames.device)
            frame = (frame_weights.cumsum(1).unsqueeze(1) <= positions[:, None]).sum(-1).clamp_max(frames.shape[1] - 1)
            means = means.gather(1, frame)
        if means.shape[1] != self.window:
            raise ValueError(
                f"the gate on frame means was built for {self.window} frames and met {means.shape[1]}; "
                "give frame weights with the number of draws of each frame"
            )
        return means


def divergence(mixed: Tensor, branches: Tensor, temperature: float) -> Tensor:
    """KL divergence of the branches' class distributions from the mixture's, summed over branches, mean over the batch.

    Gradients flow to both: neither is detached.
    """
    teacher = (mixed / temperature).softmax(-1).unsqueeze(1)  # (B, 1, C)
    students = (branches / temperature).softmax(-1)  # (B, M, C)
    return (teacher * ((teacher + 1e-8).log() - (students + 1e-8).log())).sum((1, 2)).mean()


def _linear(width: int, output: int, bias: bool = False) -> nn.Linear:
    linear = nn.Linear(width, output, bias=bias)
    variance_scaling_(linear.weight, fan_in=width)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear
