"""What a member is made of: architecture, schedule, sampler, shifts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np

from training.models.boosted import BoostedConfig
from training.windows.examples import LabelMask
from training.windows.sampler import Sampler

Framework = Literal["torch", "keras", "lightgbm"]


class Architecture(Protocol):
    """A frozen dataclass of hyper-parameters that builds a model for a dataset (`training/models`)."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def build(self, widths: Mapping[str, int], classes: int, window: int) -> Any: ...


@runtime_checkable
class KerasArchitecture(Architecture, Protocol):
    """What `build` returns is a Keras model of features (B, T, D) and frame weights (B, T)."""

    def parameters(self, widths: Mapping[str, int], classes: int) -> int:
        """The number of trainable parameters, counted without building: Keras allocates what it builds."""
        ...

    def halves(self, model: Any) -> tuple[Callable, Callable]:
        """What encodes frames, and what scores windows of encoded frames on some classes (`GatedNetVladConfig`)."""
        ...

    def scored(self, model: Any, columns: np.ndarray) -> tuple[np.ndarray, ...]:
        """What the second half needs of the model as it is now in order to score the classes `columns`."""
        ...


@dataclass(frozen=True)
class Schedule:
    """How long and how fast one stage learns; the defaults are the original's (`docs/members.md`).

    The learning rate is `learning_rate * decay ** floor(step * batch / decay_examples)`, where the step goes on
    counting from pre-training into fine-tuning; `warmup` steps (the original has none) lead up to it. A checkpoint is
    written, and MAP on the holdout taken, every `evaluate_every` steps.
    """

    steps: int
    evaluate_every: int
    batch: int = 128
    learning_rate: float = 1e-4
    decay: float = 0.9
    decay_examples: int = 4_000_000
    warmup: int = 0
    label_mask: LabelMask = "none"

    def rate(self, step: int) -> float:
        warm = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        return warm * self.learning_rate * self.decay ** (step * self.batch // self.decay_examples)


PAPER_PRETRAIN = Schedule(steps=200_000, evaluate_every=1_000)
PAPER_FINETUNE = Schedule(steps=20_000, evaluate_every=200)


@dataclass(frozen=True)
class Member:
    """One configured model of the ensemble: architecture, framework, frames it draws, shifts it is predicted under.

    A member without a pre-training schedule starts from nothing. `published_map` is the private MAP@100K of the
    paper's Table 3 (with shifts) where the member is one of the nine.
    """

    name: str
    framework: Framework
    config: Architecture | BoostedConfig
    shifts: tuple[int, ...]
    sampler: Sampler = field(default_factory=lambda: Sampler("sequence"))
    pretrain: Schedule | None = PAPER_PRETRAIN
    finetune: Schedule = PAPER_FINETUNE
    paper_name: str = ""
    published_map: float | None = None
    seed: int = 0
