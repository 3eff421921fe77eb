"""The line-ups: members as values. A changed hyper-parameter is a new member, not a flag."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from training.models.bert import BertConfig
from training.models.boosted import BoostedConfig
from training.models.gated_netvlad import GatedNetVladConfig
from training.windows import LabelMask, Sampler

Framework = Literal["torch", "keras", "lightgbm"]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast one stage learns. The original's values are the defaults (spec: docs/members.md).

    The learning rate is `learning_rate * decay ** floor(step * batch / decay_examples)`, where the step goes on
    counting from pre-training into fine-tuning. A checkpoint is written, and MAP on the holdout taken, every
    `evaluate_every` steps.
    """

    steps: int
    evaluate_every: int
    batch: int = 128
    learning_rate: float = 1e-4
    decay: float = 0.9
    decay_examples: int = 4_000_000
    label_mask: LabelMask = "none"

    def rate(self, step: int) -> float:
        return self.learning_rate * self.decay ** (step * self.batch // self.decay_examples)


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
    config: BertConfig | GatedNetVladConfig | BoostedConfig
    shifts: tuple[int, ...]
    sampler: Sampler = field(default_factory=lambda: Sampler("sequence"))
    pretrain: Schedule | None = PAPER_PRETRAIN
    finetune: Schedule = PAPER_FINETUNE
    paper_name: str = ""
    published_map: float | None = None
    seed: int = 0


SEQUENCE = Sampler("sequence")
FRAMES = Sampler("frames")

BOOSTED = Member(
    "boosted", "lightgbm", BoostedConfig(bases=("bert-l2h12-mean",)), (0,), pretrain=None
)  # fmt: skip

PAPER = (
    Member(
        "gated-netvlad", "keras", GatedNetVladConfig(), (-1, 0, 1), FRAMES,
        paper_name="GatedNetVLAD(H1024C16)", published_map=0.7556,
    ),
    Member(
        "bert-l2h12-mean", "torch", BertConfig(layers=2, heads=12, pooling="mean"), (-2, -1, 0, 1),
        paper_name="BERTMean(L2h12)", published_map=0.7725,
    ),
)  # fmt: skip


def _small(member: Member, pretrain: Schedule, finetune: Schedule) -> Member:
    """The same member, taught for minutes instead of a day."""
    return replace(member, pretrain=pretrain, finetune=finetune)


def demo() -> tuple[Member, ...]:
    """The paper's members on the generated world (96 + 48 features), in a few minutes on two cores."""
    pretrain = Schedule(steps=400, evaluate_every=100, learning_rate=1e-3)
    finetune = Schedule(steps=200, evaluate_every=25, learning_rate=5e-4)
    return (*(_small(member, pretrain, finetune) for member in PAPER), BOOSTED)


def audioset() -> tuple[Member, ...]:
    """The paper's members on AudioSet (128 features of sound, which 12 heads do not divide)."""
    pretrain = Schedule(steps=1_000, evaluate_every=250, learning_rate=1e-3)
    finetune = Schedule(steps=200, evaluate_every=20, learning_rate=3e-4)
    return (*(_small(_eight_heads(member), pretrain, finetune) for member in PAPER),
            replace(BOOSTED, config=replace(BOOSTED.config, bases=("bert-l2h8-mean",))))  # fmt: skip


def _eight_heads(member: Member) -> Member:
    """The member with 8 heads instead of 12; its name says so."""
    if isinstance(member.config, BertConfig) and member.config.heads == 12:
        return replace(member, name=member.name.replace("h12", "h8"), config=replace(member.config, heads=8))
    return member


LINE_UPS: dict[str, Callable[[], tuple[Member, ...]]] = {"paper": lambda: PAPER, "demo": demo, "audioset": audioset}


def line_up(name: str) -> tuple[Member, ...]:
    """The members of a line-up in the order in which they run: a member that builds on others comes last."""
    if name not in LINE_UPS:
        raise ValueError(f"there is no line-up {name!r}; the line-ups are {', '.join(LINE_UPS)}")
    return LINE_UPS[name]()


def member_of(lineup: str, name: str) -> Member:
    """The member `name` of a line-up; ValueError with the names there are."""
    members = {member.name: member for member in line_up(lineup)}
    if name not in members:
        raise ValueError(f"the line-up {lineup} has no member {name!r}; it has {', '.join(members)}")
    return members[name]
