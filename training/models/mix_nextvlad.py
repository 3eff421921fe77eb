"""MixNeXtVLAD: three NeXtVLAD networks that a gate mixes and that learn from their mixture.

NeXtVLAD widens each frame, cuts it into groups, attends to the groups that matter and shares them out among clusters,
as NetVLAD does whole frames. As in the published code, BatchNorm stands in place of biases, and once more behind the
descriptor. Shapes: B batch, T frames, F width of a modality, G groups, K clusters, J width of a widened frame's group,
M branches, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self, cast

import torch
from torch import Tensor, nn

from training.limits import above, at_least, at_most, below, one_of
from training.models.layers.heads import Logistic
from training.models.layers.initialisation import variance_scaling_
from training.models.layers.normalisation import BatchNorm, l2_normalise
from training.models.loss import binary_cross_entropy
from training.models.window_model import TorchArchitecture, WindowModel


@dataclass(frozen=True)
class MixNeXtVladConfig(TorchArchitecture):
    """`clusters` and `groups` are the first modality's; the second has half as many of both.

    The gate reads the window's mean frame, as the paper says, or each frame's mean over its features
    (`frame_means`), as the published code does. `branch_loss` is the paper's Eq. 19: each branch answers for itself
    too; the published code leaves that out.
    """

    has_batch_norm: ClassVar[bool] = True

    branches: int = 3
    clusters: int = 112
    groups: int = 8
    expansion: int = 2
    hidden: int = 2048
    gating_reduction: int = 16
    dropout: float = 0.5
    temperature: float = 3.0
    distillation: float = 9.0  # the temperature squared
    gate: Literal["mean_frame", "frame_means"] = "mean_frame"
    branch_loss: bool = True
    logistic_l2: float = 1e-8  # what the published code comes to; its script and NeXtVLAD's authors ask for 1e-5
    batch_norm_decay: float = 0.999  # of the moving averages; a training of few steps needs a faster one

    def __post_init__(self) -> None:
        at_least(self, 1, branches=self.branches, expansion=self.expansion, gating_reduction=self.gating_reduction)
        at_least(self, 2, clusters=self.clusters, groups=self.groups)  # a further modality has half as many
        at_least(self, self.gating_reduction, hidden=self.hidden)
        at_least(self, 0, dropout=self.dropout, distillation=self.distillation, logistic_l2=self.logistic_l2)
        above(self, 0, temperature=self.temperature, batch_norm_decay=self.batch_norm_decay)
        at_most(self, 1, dropout=self.dropout)
        below(self, 1, batch_norm_decay=self.batch_norm_decay)
        one_of(self, ("mean_frame", "frame_means"), gate=self.gate)

    @property
    def weighs_frames(self) -> bool:
        return self.gate == "mean_frame"  # the other gate reads the frames in the order of the draws

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
        """Each frame's groups (..., G, J), and how much of each belongs to each cluster (..., G, K)."""
        expanded = self.expand(frames)
        attention = self.attention(expanded).sigmoid().unsqueeze(-1)
        logits = self.assign_norm(self.assign(expanded), frame_weights).unflatten(-1, (self.groups, self.clusters))
        return expanded.unflatten(-1, (self.groups, -1)), logits.softmax(-1) * attention

    def describe(self, groups: Tensor, shares: Tensor, frame_weights: Tensor | None) -> Tensor:
        """The residuals of all groups of a window to the clusters' anchors, summed up for each cluster."""
        if frame_weights is not None:
            shares = shares * frame_weights[:, :, None, None]
        groups, shares = groups.flatten(1, 2), shares.flatten(1, 2)  # (B, T * G, J), (B, T * G, K)
        residuals = shares.mT @ groups - shares.sum(1).unsqueeze(-1) * self.anchors  # (B, K, J)
        return self.norm(l2_normalise(residuals).flatten(1))


class Branch(nn.Module):
    """One network of the mixture: a descriptor a modality, a hidden layer, gates on it, a logit a class."""

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
        parts = iter(rest)  # of each branch, of each modality: groups, then shares
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
            return (frame_weights.unsqueeze(-1) * frames).sum(1) / frame_weights.sum(1, keepdim=True).clamp_min(1e-6)
        means = frames.mean(-1)  # (B, T): one number a frame, in the order of the frames drawn
        if frame_weights is not None:
            # Frame i takes the places from the draws before it to those and its own.
            places = torch.arange(self.window, device=frames.device)
            frame = (frame_weights.cumsum(1).unsqueeze(1) <= places[:, None]).sum(-1).clamp_max(frames.shape[1] - 1)
            means = means.gather(1, frame)
        if means.shape[1] != self.window:
            raise ValueError(
                f"the gate on frame means was built for {self.window} frames and met {means.shape[1]}; "
                "give it frame weights that say how often each frame is drawn"
            )
        return means


def divergence(mixed: Tensor, branches: Tensor, temperature: float) -> Tensor:
    """KL divergence of the branches' class distributions from the mixture's, summed over branches, mean over the batch.

    Both sides learn from it: neither is held fixed.
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
