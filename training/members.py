"""The line-ups: members as values. A changed hyper-parameter is a new member, not a flag."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from scoring.paper import MEMBERS
from tracking.runs import first_lineup
from training.member import Member, Schedule
from training.models.architecture import Architecture
from training.models.bert import BertConfig
from training.models.bert_cross import BertCrossConfig
from training.models.boosted import BoostedConfig
from training.models.context_aware import ContextAwareConfig
from training.models.frame_mean import FrameMeanConfig
from training.models.frame_wise import FrameWiseConfig
from training.models.gated_netvlad import GatedNetVladConfig
from training.models.mix_nextvlad import MixNeXtVladConfig
from training.windows.sampler import Sampler

FRAMES = Sampler("frames")


def _published(member: Member) -> Member:
    figures = MEMBERS[member.name]
    return replace(member, paper_name=figures.name, published_map=figures.private)


PAPER = tuple(
    _published(member)
    for member in (
        Member("gated-netvlad", GatedNetVladConfig(), (-1, 0, 1), FRAMES),
        Member("bert-l2h12-concat", BertConfig(layers=2, heads=12, pooling="concat"), (-1, 0, 1)),
        Member("bert-cross-l2h8-mean", BertCrossConfig(heads=8, pooling="mean"), (-1, 0, 1)),
        Member("bert-l3h12-concat", BertConfig(layers=3, heads=12, pooling="concat"), (-1, 0, 1)),
        Member("bert-cross-l2h8-attention", BertCrossConfig(heads=8, pooling="attention"), (-1, 0, 1)),
        # the paper says first token, its code takes the last
        Member("bert-l2h12-first", BertConfig(layers=2, heads=12, pooling="last"), (-2, -1, 0, 1)),
        Member("mix-nextvlad-300", MixNeXtVladConfig(), (-1, 0, 1), Sampler("frames", 300, weighted=True)),
        Member("mix-nextvlad-60", MixNeXtVladConfig(), (0, 1, 2), Sampler("frames", 60, weighted=True)),
        Member("bert-l2h12-mean", BertConfig(layers=2, heads=12, pooling="mean"), (-2, -1, 0, 1)),
    )
)


def context_aware(config: ContextAwareConfig) -> Member:
    """The context-aware member, with a sampler for its config."""
    sampler = Sampler("sequence", surroundings=config.surroundings, video_frames=config.video_frames)
    return Member("context-aware", config, (-1, 0, 1), sampler)


FRAME_MEAN = Member("frame-mean-mlp", FrameMeanConfig(), (-1, 0, 1))


def frame_wise(config: FrameWiseConfig) -> Member:
    """The member that classifies every frame, with a sampler for its config."""
    return Member("frame-wise", config, (0,), Sampler("sequence", surroundings=config.surroundings, weak=True))


WIDEST = (-2, -1, 0, 1, 2)
SHIFTED = "-shifted"  # ends the name of a member that predicts by another's weights under the WIDEST shifts
BOOSTED = Member("boosted", BoostedConfig(bases=("bert-l2h12-mean",)), (0,), pretrain=None)


# Of the paper's members, for frames of 128 features: a number of heads that divides them, and layers narrower in
# proportion, which learn no worse there and several times as fast.
NARROW: dict[str, Architecture] = {
    "gated-netvlad": GatedNetVladConfig(hidden=512, output=1024),
    "bert-l2h12-concat": BertConfig(heads=8, pooling="concat", intermediate=512),
    "bert-l2h12-first": BertConfig(heads=8, pooling="last", intermediate=512),
    "bert-l2h12-mean": BertConfig(heads=8, pooling="mean", intermediate=512),
    "mix-nextvlad-60": MixNeXtVladConfig(clusters=32, hidden=512),
}


def demo() -> tuple[Member, ...]:
    """One small member per framework, for generated videos (96 + 48 features): two to three minutes on two cores."""
    shifts = (-2, -1, 0, 1, 2)
    pretrain = Schedule(steps=300, evaluate_every=150, learning_rate=1e-3, warmup=50)
    finetune = Schedule(steps=120, evaluate_every=20, learning_rate=5e-4)
    netvlad = Member("gated-netvlad-h256", GatedNetVladConfig(hidden=256, output=512), shifts, FRAMES)
    bert = Member("bert-l1h12-mean", BertConfig(layers=1, pooling="mean", intermediate=576, dropout=0.0), shifts)
    boosted = BoostedConfig(bases=(bert.name,), folds=2, rounds=12, block=4, learning_rate=0.08)
    return (
        _taught(netvlad, pretrain, finetune),
        _taught(bert, replace(pretrain, learning_rate=2e-3), finetune),
        replace(BOOSTED, config=boosted),
    )


def audioset() -> tuple[Member, ...]:
    """The paper's members and those beyond it for AudioSet's 128 audio features, a ninth of YouTube-8M's.

    The two BERTCross need two modalities and are left out when the line-up runs; the deepest BERT and the larger
    MixNeXtVLAD are omitted to save time.
    """
    # At 1e-3, the BERTs of some seeds do not learn. Most scored classes are in a quarter of a percent of the clips.
    pretrain = Schedule(steps=800, evaluate_every=200, learning_rate=7e-4, warmup=100, repeat_below=0.25)
    # A clip is judged for the classes of its source only, so unjudged classes are not negatives.
    finetune = Schedule(steps=120, evaluate_every=20, learning_rate=3e-4, label_mask="rated")
    fewer = replace(pretrain, steps=500, evaluate_every=250)  # to save time
    chosen = [member for member in PAPER if member.name not in ("bert-l3h12-concat", "mix-nextvlad-300")]
    taught = [
        _taught(_narrow(member), fewer if member.name in ("gated-netvlad", "mix-nextvlad-60") else pretrain, finetune)
        for member in chosen
    ]
    # At the others' rate it never does better than the prior, so it is pre-trained at that of fine-tuning.
    aware = context_aware(ContextAwareConfig(video_frames=10, hidden=192, intermediate=768))
    taught.append(_taught(aware, replace(fewer, learning_rate=finetune.learning_rate), finetune))
    mlp = replace(FRAME_MEAN, config=FrameMeanConfig(hidden=(1024, 1024)), prior=0.5)
    taught.append(_taught(mlp, pretrain, finetune))
    # Eight frames on each side: all of a clip of ten.
    wise = frame_wise(FrameWiseConfig(surroundings=8, hidden=192, heads=8, intermediate=384))
    taught.append(_taught(replace(wise, prior=0.5), pretrain, finetune))
    # The shifts of most of the paper's members. The frame-wise one sees what they would add.
    shifted = [replace(member, shifts=(0,) if member.name == wise.name else (-1, 0, 1)) for member in taught]
    return (*shifted, replace(BOOSTED, config=BoostedConfig(bases=("frame-wise", "bert-l2h8-mean"))))


def audioset_claims() -> tuple[Member, ...]:
    """Variants of members of `audioset` that `benchmarks/claims_rows.py` compares with it; never an ensemble.

    Most start from the pre-trained weights of the member that they vary. Those named SHIFTED are not trained, so that
    windows of shifts can be compared.
    """
    # The paper has no figures of variants.
    members = {member.name: replace(member, paper_name="", published_map=None) for member in audioset()}
    bert = members["bert-l2h8-mean"]
    pretrain, finetune = bert.pretrain, bert.finetune
    assert pretrain is not None
    started = replace(bert, shifts=(0,), pretrain=None, pretrained_as=f"audioset/{bert.name}")
    # From initial weights: the rate and warm-up of pre-training, and more steps than any needs on these ratings.
    scratch = replace(
        finetune, steps=300, evaluate_every=20, learning_rate=pretrain.learning_rate, warmup=pretrain.warmup // 4
    )

    def variant(name: str, **changes: Any) -> Member:
        return replace(started, name=f"{bert.name}-{name}", **changes)

    def shares(name: str, schedule: Schedule, **changes: Any) -> list[Member]:
        return [
            variant(f"{name}{percent}", finetune=replace(schedule, share=percent / 100), **changes)
            for percent in (10, 25, 50)
        ]

    return (
        variant("pretrained", finetune=replace(finetune, steps=0)),
        *shares("share", finetune),
        *shares("scratch", scratch, pretrained_as=""),
        variant("scratch100", finetune=scratch, pretrained_as=""),
        variant("consistency", shifts=bert.shifts, finetune=replace(finetune, consistency=1.0)),
        variant("varied", shifts=bert.shifts, finetune=replace(finetune, varied=0.5)),
        variant("average", shifts=bert.shifts, finetune=replace(finetune, average=2)),
        replace(bert, name=f"{bert.name}-masked", config=replace(bert.config, masked=0.15)),
        replace(bert, name=f"{bert.name}-uniform", pretrain=replace(pretrain, repeat_below=0.0)),
        variant("mask-none", shifts=bert.shifts, finetune=replace(finetune, label_mask="none")),
        variant("mask-mined", shifts=bert.shifts, finetune=replace(finetune, label_mask="rated+mined")),
        variant("wide", sampler=replace(bert.sampler, surroundings=2)),
        replace(bert, name="bert-l2h8-attention", config=replace(bert.config, pooling="attention")),
        replace(bert, name="bert-l3h8-mean", config=replace(bert.config, layers=3)),
        replace(bert, name=f"{bert.name}-prior", prior=0.5, pretrain=None, finetuned_as=f"audioset/{bert.name}"),
        *(
            replace(member, name=f"{name}{SHIFTED}", shifts=WIDEST, pretrain=None, finetuned_as=f"audioset/{name}")
            for name, member in members.items()
            if member.config.pretrains and member.config.least_modalities == 1
        ),
    )


def _taught(member: Member, pretrain: Schedule, finetune: Schedule) -> Member:
    """The member with schedules of minutes instead of a day, and a smaller decay of its moving averages."""
    return replace(member, config=member.config.with_batch_norm_decay(0.98), pretrain=pretrain, finetune=finetune)


def _narrow(member: Member) -> Member:
    """The member in its NARROW form, if it has one; its name says how many heads a BERT has."""
    if member.name not in NARROW:
        return member
    return replace(member, name=member.name.replace("h12", "h8"), config=NARROW[member.name])


LINE_UPS: dict[str, Callable[[], tuple[Member, ...]]] = {
    "paper": lambda: PAPER,
    "beyond": lambda: (*PAPER, context_aware(ContextAwareConfig()), FRAME_MEAN, frame_wise(FrameWiseConfig()), BOOSTED),
    "demo": demo,
    "audioset": audioset,
    "audioset-claims": audioset_claims,
}


SEED = re.compile(r"(?P<lineup>.+)-seed(?P<seed>\d+)")


def line_up(name: str) -> tuple[Member, ...]:
    """The members of a line-up in the order in which they run: a member that builds on others comes last.

    `audioset-seed2` is the line-up audioset with the seed 2 in every member: a line-up of its own, so that the spread
    of members and ensemble over seeds can be measured. Members that start from the weights of another line-up's take
    those of the same seed. `audioset-final` has the same members as `audioset`, to be refitted on everything rated
    (`training.job.Job.is_final`).
    """
    first = first_lineup(name)
    seeded = SEED.fullmatch(first)
    plain = seeded["lineup"] if seeded else first
    if plain not in LINE_UPS:
        raise ValueError(f"there is no line-up {name!r}; the line-ups are {', '.join(LINE_UPS)}")
    members = LINE_UPS[plain]()
    return tuple(_with_seed(member, seeded["seed"]) for member in members) if seeded else members


def seed_name(lineup: str, seed: int) -> str:
    """The name of a line-up with a seed; that of seed 0 is the line-up itself, whose members have this seed."""
    return f"{lineup}-seed{seed}" if seed else lineup


def _with_seed(member: Member, seed: str) -> Member:
    pretrained_as, finetuned_as = (
        f"{source}-seed{seed}/{name}" if slash else ""
        for source, slash, name in (field.partition("/") for field in (member.pretrained_as, member.finetuned_as))
    )
    return replace(member, seed=int(seed), pretrained_as=pretrained_as, finetuned_as=finetuned_as)


def member_of(lineup: str, name: str) -> Member:
    """The member `name` of a line-up; ValueError with the names there are."""
    members = {member.name: member for member in line_up(lineup)}
    if name not in members:
        raise ValueError(f"the line-up {lineup} has no member {name!r}; it has {', '.join(members)}")
    return members[name]
