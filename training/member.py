"""What a member is made of: architecture, schedule, sampler, shifts."""

from dataclasses import dataclass, field

from training.limits import Count, Limited, Natural, NonNegative, Positive, PositiveShare, Share, later
from training.models.architecture import Architecture
from training.windows.examples import LabelMask, SegmentExamples, VideoExamples
from training.windows.sampler import Sampler
from videos.store import FrameStore


@dataclass(frozen=True)
class Schedule(Limited):
    """Steps and learning rate of one stage; the defaults are the original's (`docs/members.md`).

    The learning rate is `learning_rate * decay ** floor(step * batch / decay_examples)`, after a linear warm-up of
    `warmup` steps (the original has none). Fine-tuning continues the step count of pre-training. Every
    `evaluate_every` steps, MAP on the holdout is computed and a checkpoint written. Without a step, the weights it
    starts from are used.

    Attributes:
        average: The weights that are evaluated and kept are a mean over this many checkpoints (`fit.averaging`).
        varied: Probability that a rated segment's window is shifted, diluted or enlarged (`windows.variation`);
            fine-tuning only.
        consistency: Factor of a term in the loss by which a window of an unrated video and the same window shifted are
            to have the same predictions (`windows.unrated`); fine-tuning only.
        repeat_below: A video occurs in an epoch as often as the rounded root of this value over the share of videos
            with its rarest scored class, at least once (`windows.examples.times_repeated`); pre-training only.
        share: Fine-tuning uses the rated segments of this share of the videos (`videos.splits.is_in_share`).
    """

    steps: Natural
    evaluate_every: Count
    batch: Count = 128
    learning_rate: Positive = 1e-4
    decay: PositiveShare = 0.9
    decay_examples: Count = 4_000_000
    warmup: Natural = 0
    label_mask: LabelMask = "none"
    average: Count = later(1)
    varied: Share = later(0.0)
    consistency: NonNegative = later(0.0)
    share: PositiveShare = later(1.0)
    repeat_below: Share = later(0.0)

    def rate(self, step: int) -> float:
        warm = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        return warm * self.learning_rate * self.decay ** (step * self.batch // self.decay_examples)


PAPER_PRETRAIN = Schedule(steps=200_000, evaluate_every=10_000)
PAPER_FINETUNE = Schedule(steps=20_000, evaluate_every=200)


@dataclass(frozen=True)
class Member(Limited):
    """One configured model of the ensemble: architecture, sampler, schedules, and shifts at inference.

    Without a pre-training schedule it is fine-tuned from its initial weights, or from the pre-trained ones of another
    member of the same shape, `pretrained_as` ("<line-up>/<member>"). It is not trained at all if it predicts by the
    fine-tuned weights of another member, `finetuned_as`, under other shifts or with another prior. `prior` is the
    exponent of the video's score in predictions (`training.prior`). `published_map` is the private MAP@100K (with
    shifts) in the paper's Table 3, for the nine.
    """

    name: str
    config: Architecture
    shifts: tuple[int, ...]
    sampler: Sampler = field(default_factory=lambda: Sampler("sequence"))
    pretrain: Schedule | None = PAPER_PRETRAIN
    finetune: Schedule = PAPER_FINETUNE
    paper_name: str = ""
    published_map: float | None = None
    seed: int = 0
    prior: Share = later(0.0)
    pretrained_as: str = later("")
    finetuned_as: str = later("")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.shifts or len(set(self.shifts)) < len(self.shifts):
            raise ValueError(f"{self.name} has the shifts {self.shifts}; give at least one, each once")
        if self.sampler.weighted and not self.config.weighs_frames:
            raise ValueError(
                f"{self.name} trains differently on weighted frames than on repeated ones; "
                "give it a sampler that is not weighted"
            )
        if self.pretrain and not self.config.pretrains:
            raise ValueError(f"{self.name} has no pre-training to be scheduled; give it pretrain=None")
        for option in ("varied", "consistency"):
            if self.pretrain and vars(self.pretrain)[option]:
                raise ValueError(f"{self.name} has {option} in its pre-training; set {option} for its fine-tuning only")
        if self.finetune.repeat_below:
            raise ValueError(f"{self.name} has repeat_below in its fine-tuning; set it for its pre-training only")
        if self.pretrained_as and self.pretrain:
            raise ValueError(f"{self.name} starts from the weights of {self.pretrained_as}; give it pretrain=None")
        if self.finetuned_as and (self.pretrain or self.pretrained_as):
            raise ValueError(f"{self.name} has the weights of {self.finetuned_as}; give it pretrain=None")

    @property
    def pretrained_name(self) -> str:
        """The member whose pre-trained weights it starts from: its own name, or that in `pretrained_as`."""
        return self.pretrained_as.rpartition("/")[2] or self.name

    @property
    def finetuned_name(self) -> str:
        """The member whose fine-tuned weights it predicts by: its own name, or that in `finetuned_as`."""
        return self.finetuned_as.rpartition("/")[2] or self.name

    def video_examples(self, store: FrameStore) -> VideoExamples:
        """What it is pre-trained on; it must have a schedule of pre-training."""
        assert self.pretrain is not None
        return VideoExamples(store, self.sampler, repeat_below=self.pretrain.repeat_below)

    def rated_examples(self, store: FrameStore, videos: list[str] | None = None) -> SegmentExamples:
        """What it is fine-tuned on, restricted to `videos` (ids) if they are given."""
        schedule = self.finetune
        return SegmentExamples(
            store,
            self.sampler,
            schedule.label_mask,
            videos=videos,
            share=schedule.share,
            varied=schedule.varied,
            consistency=schedule.consistency,
        )

    @property
    def framework(self) -> str:
        """The kind of its architecture (`training.fit.kinds`)."""
        return self.config.framework
