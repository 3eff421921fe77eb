"""What a member is made of: architecture, schedule, sampler, shifts."""

from dataclasses import dataclass, field
from typing import get_args

from training.limits import above, at_least, at_most, one_of
from training.models.architecture import Architecture
from training.windows.examples import LabelMask
from training.windows.sampler import Sampler


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

    def __post_init__(self) -> None:
        at_least(self, 1, steps=self.steps, evaluate_every=self.evaluate_every, batch=self.batch)
        at_least(self, 1, decay_examples=self.decay_examples)
        at_least(self, 0, warmup=self.warmup)
        above(self, 0, learning_rate=self.learning_rate, decay=self.decay)
        at_most(self, 1, decay=self.decay)
        one_of(self, get_args(LabelMask), label_mask=self.label_mask)

    def rate(self, step: int) -> float:
        warm = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        return warm * self.learning_rate * self.decay ** (step * self.batch // self.decay_examples)


PAPER_PRETRAIN = Schedule(steps=200_000, evaluate_every=1_000)
PAPER_FINETUNE = Schedule(steps=20_000, evaluate_every=200)


@dataclass(frozen=True)
class Member:
    """One configured model of the ensemble: architecture, framework, frames it draws, shifts it is predicted under.

    `framework` is the kind that its architecture belongs to (`training.fit.kinds`). A member without a pre-training
    schedule starts from nothing. `published_map` is the private MAP@100K of the
    paper's Table 3 (with shifts) where the member is one of the nine.
    """

    name: str
    framework: str
    config: Architecture
    shifts: tuple[int, ...]
    sampler: Sampler = field(default_factory=lambda: Sampler("sequence"))
    pretrain: Schedule | None = PAPER_PRETRAIN
    finetune: Schedule = PAPER_FINETUNE
    paper_name: str = ""
    published_map: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.framework != self.config.framework:
            raise ValueError(
                f"{self.name} is given as {self.framework!r}, but {type(self.config).__name__} is of the kind "
                f"{self.config.framework!r}; give it that"
            )
        if not self.shifts or len(set(self.shifts)) < len(self.shifts):
            raise ValueError(f"{self.name} has the shifts {self.shifts}; give at least one, each once")
        if self.sampler.weighted and not self.config.weighs_frames:
            raise ValueError(
                f"{self.name} learns otherwise from weighted frames than from repeated ones; "
                "give it a sampler that is not weighted"
            )
        if self.pretrain and not self.config.pretrains:
            raise ValueError(f"{self.name} has no pre-training to be scheduled; give it pretrain=None")
