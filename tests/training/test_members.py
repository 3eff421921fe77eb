"""What holds for every member of every line-up: a new one is tested by being listed."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from scoring import paper
from tests.training.conftest import gradient_members
from training.fit.checkpoints import Checkpoints
from training.fit.kinds import parameters_of
from training.fit.loop import GradientEstimator, fit
from training.job import Job
from training.limits import settings
from training.member import PAPER_FINETUNE, PAPER_PRETRAIN, Member, Schedule
from training.members import LINE_UPS, SHIFTED, WIDEST, line_up, member_of, seed_name
from training.windows.examples import Batch, VideoExamples
from training.windows.segments import SegmentWindows
from videos.segments import segments_of
from videos.sources import yt8m
from videos.store import FrameStore

MEMBERS = pytest.mark.parametrize("member", gradient_members(), ids=lambda member: member.name)


def batch_of(store: FrameStore, member: Member) -> Batch:
    return VideoExamples(store, member.sampler).batch(np.arange(16), np.random.default_rng(0))


def scores_of(store: FrameStore, member: Member, estimator: GradientEstimator) -> np.ndarray:
    windows = SegmentWindows(store, segments_of(store.split("holdout"), store.dataset), member.sampler)
    predictor = estimator.predictor(np.asarray(store.dataset.scored_classes))
    return np.concatenate([predictor(block) for block in windows.blocks(shift=1)])


@MEMBERS
def test_every_parameter_learns(tiny: FrameStore, member: Member) -> None:
    estimator = Job(lineup="paper", member=member, store=tiny).estimator()
    trainable = {name for name, array in estimator.weights().items() if "running" not in name and "tracked" not in name}
    before = estimator.weights()
    before = {name: before[name].copy() for name in trainable if "moving" not in name}
    estimator.train_step(batch_of(tiny, member), 1e-3)
    after = estimator.weights()
    still = [name for name, array in before.items() if array.ndim and np.array_equal(array, after[name])]
    assert [name for name in still if "seed" not in name] == []


@MEMBERS
def test_a_short_fit_beats_its_start(tiny: FrameStore, member: Member) -> None:
    estimator = Job(lineup="paper", member=member, store=tiny).estimator()
    batch = batch_of(tiny, member)
    losses = [float(estimator.train_step(batch, 1e-3)) for _ in range(15)]
    assert losses[-1] < losses[0]


@MEMBERS
def test_restored_weights_give_identical_scores(tiny: FrameStore, member: Member, tmp_path: Path) -> None:
    estimator = Job(lineup="paper", member=member, store=tiny).estimator()
    estimator.train_step(batch_of(tiny, member), 1e-3)
    scores = scores_of(tiny, member, estimator)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write(member.name, estimator.step, estimator.weights(), estimator.moments(), None)
    other = Job(lineup="paper", member=member, store=tiny).estimator()
    assert not np.array_equal(scores_of(tiny, member, other), scores)
    other.restore(*checkpoints.read("last", member.name))
    assert np.array_equal(scores_of(tiny, member, other), scores)
    assert scores.min() >= 0
    assert scores.max() <= 1


def drawn_anew(member: Member) -> Member:
    """The member with frames drawn at random in prediction too."""
    return replace(member, name=f"{member.name}-drawn", sampler=replace(member.sampler, inference_seed=3))


@pytest.mark.parametrize(
    "member",
    [*gradient_members(), *(drawn_anew(member) for member in gradient_members() if member.sampler.kind == "frames")],
    ids=lambda member: member.name,
)
def test_one_pass_over_the_videos_serves_all_shifts(tiny: FrameStore, member: Member) -> None:
    """The scores are those of one shift after the other, every frame computed as often as it is drawn."""
    estimator = Job(lineup="paper", member=member, store=tiny).estimator()
    estimator.train_step(batch_of(tiny, member), 1e-3)
    columns, shifts = np.asarray(tiny.dataset.scored_classes), (2, 0, -1)
    segments = segments_of(tiny.split("holdout"), tiny.dataset)
    windows, every = SegmentWindows(tiny, segments, member.sampler), np.arange(len(segments))
    together = estimator.predictor(columns)(windows.at(every, *shifts)).reshape(len(shifts), len(every), -1)
    for scores, shift in zip(together, shifts, strict=True):
        plain = windows.at(every, shift)
        # A weak sampler's weights leave the surroundings out of the pooling, not out of the window.
        times = np.ones_like(plain.frame_weights) if member.sampler.weak else plain.frame_weights
        expected = plainly(estimator, plain.features, times)
        np.testing.assert_allclose(scores, expected[:, columns], atol=1e-6)


def plainly(estimator: GradientEstimator, features: np.ndarray, frame_weights: np.ndarray) -> np.ndarray:
    """Scores of all classes, window by window, each frame repeated by its weight."""
    import torch

    from training.fit.keras import KerasEstimator
    from training.fit.torch import TorchEstimator

    drawn = [
        np.repeat(window, times.astype(int), axis=0) for window, times in zip(features, frame_weights, strict=True)
    ]
    if isinstance(estimator, KerasEstimator):
        ones = [np.ones((1, len(window)), np.float32) for window in drawn]
        return np.stack([np.asarray(estimator.model([w[None], one]))[0] for w, one in zip(drawn, ones, strict=True)])
    assert isinstance(estimator, TorchEstimator)
    with torch.no_grad():
        return np.stack([estimator.module.eval()(torch.from_numpy(window)[None])[0].numpy() for window in drawn])


@MEMBERS
def test_stopped_and_resumed_is_never_stopped(tiny: FrameStore, member: Member, tmp_path: Path) -> None:
    examples, schedule = VideoExamples(tiny, member.sampler), Schedule(8, 4, batch=16, learning_rate=1e-3)

    def train(folder: str, validate) -> dict[str, np.ndarray]:
        estimator = Job(lineup="paper", member=member, store=tiny).estimator()
        checkpoints = Checkpoints(tmp_path / folder)
        fit(estimator, examples, member=member, schedule=schedule, checkpoints=checkpoints, validate=validate)
        assert estimator.step == 8
        return estimator.weights()

    calls = iter(range(10))

    def stop_at_the_second() -> None:
        if next(calls) == 2:
            raise KeyboardInterrupt

    whole = train("whole", lambda: None)
    with pytest.raises(KeyboardInterrupt):
        train("stopped", stop_at_the_second)
    resumed = train("stopped", lambda: None)
    assert {name: array.tobytes() for name, array in resumed.items()} == {n: a.tobytes() for n, a in whole.items()}


def test_names_are_unique_and_bases_come_first() -> None:
    for name in LINE_UPS:
        names = [member.name for member in line_up(name)]
        assert len(set(names)) == len(names)
        for place, member in enumerate(line_up(name)):
            assert set(member.config.builds_on) <= set(names[:place])


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ValueError, match="demo"):
        line_up("nothing")
    with pytest.raises(ValueError, match="gated-netvlad"):
        member_of("demo", "nothing")


def test_a_seed_after_the_name_is_that_of_every_member() -> None:
    plain, seeded = line_up("audioset"), line_up("audioset-seed12")
    assert {member.seed for member in plain} == {0}
    assert seeded == tuple(replace(member, seed=12) for member in plain)
    for name in ("audioset-seed", "audioset-seedx", "audioset-seed-1", "nothing-seed1"):
        with pytest.raises(ValueError, match=f"no line-up '{name}'"):
            line_up(name)


def test_a_variant_starts_from_a_member_of_its_own_shape_and_seed() -> None:
    shape = {"modalities": {"audio": 128}, "classes": 527, "segment_frames": 2}
    started = [member for member in line_up("audioset-claims-seed3") if member.pretrained_as]
    assert started
    for member in started:
        source, name = member.pretrained_as.split("/")
        assert (source, name, member.seed) == ("audioset-seed3", member.pretrained_name, 3)
        base = member_of(source, name)
        assert base.pretrain is not None
        assert parameters_of(member, **shape) == parameters_of(base, **shape)
        assert replace(member.config, layers=9) == replace(base.config, layers=9)  # all else is equal


def test_a_shifted_variant_has_the_weights_of_a_member_of_its_seed_under_all_shifts() -> None:
    shifted = [member for member in line_up("audioset-claims-seed3") if member.name.endswith(SHIFTED)]
    sound = [member for member in line_up("audioset") if member.config.least_modalities == 1]
    neural = {member.name for member in sound if member.framework != "lightgbm"}
    assert {member.name for member in shifted} == {f"{name}{SHIFTED}" for name in neural}
    for member in shifted:
        source, name = member.finetuned_as.split("/")
        assert (source, name, member.seed) == ("audioset-seed3", member.finetuned_name, 3)
        base = member_of(source, name)
        assert set(base.shifts) <= set(member.shifts) == set(WIDEST)
        assert (member.config, member.sampler, member.prior) == (base.config, base.sampler, base.prior)


def test_the_line_up_of_seed_0_is_the_plain_one() -> None:
    assert [seed_name("audioset-claims", seed) for seed in (0, 2)] == ["audioset-claims", "audioset-claims-seed2"]
    for seed in (0, 2):
        assert {member.seed for member in line_up(seed_name("audioset", seed))} == {seed}


def test_a_member_that_starts_from_another_s_weights_has_no_pre_training() -> None:
    variant = member_of("audioset-claims", "bert-l2h8-mean-wide")
    with pytest.raises(ValueError, match="starts from the weights of audioset/bert-l2h8-mean; give it pretrain=None"):
        replace(variant, pretrain=Schedule(1, 1))
    shifted = member_of("audioset-claims", f"bert-l2h8-mean{SHIFTED}")
    for other in ({"pretrain": Schedule(1, 1)}, {"pretrained_as": "audioset/bert-l2h8-mean"}):
        with pytest.raises(ValueError, match="has the weights of audioset/bert-l2h8-mean; give it pretrain=None"):
            replace(shifted, **other)


def test_the_learning_rate_falls_in_stairs() -> None:
    schedule = Schedule(200_000, 1_000)
    assert schedule.rate(0) == 1e-4
    assert schedule.rate(31_249) == 1e-4
    assert schedule.rate(31_250) == pytest.approx(0.9e-4)  # 4,000,000 examples of 128 a step
    assert schedule.rate(200_000) == pytest.approx(5.31e-5, rel=1e-3)
    assert replace(schedule, decay_examples=2_000_000).rate(200_000) == pytest.approx(2.824e-5, rel=1e-3)  # the paper's
    assert replace(schedule, warmup=100).rate(0) == pytest.approx(1e-6)
    assert replace(schedule, warmup=100).rate(99) == 1e-4


def test_the_paper_s_schedules() -> None:
    """A changed default would change every member without a word."""
    shared = {"batch": 128, "learning_rate": 1e-4, "decay": 0.9, "decay_examples": 4_000_000, "warmup": 0}
    shared["label_mask"] = "none"
    assert settings(PAPER_PRETRAIN) == {"steps": 200_000, "evaluate_every": 10_000, **shared}
    assert settings(PAPER_FINETUNE) == {"steps": 20_000, "evaluate_every": 200, **shared}
    assert {(member.pretrain, member.finetune) for member in line_up("paper")} == {(PAPER_PRETRAIN, PAPER_FINETUNE)}


def test_the_paper_s_hyper_parameters() -> None:
    """What its scripts and its code have, but for the gate and the loss of the branches, which are the paper's."""
    bert = {"intermediate": 3072, "dropout": 0.1, "experts": 5}
    masked = {"masked": 0.0}
    mix = {"branches": 3, "clusters": 112, "groups": 8, "expansion": 2, "hidden": 2048, "gating_reduction": 16}
    mix |= {"dropout": 0.5, "temperature": 3.0, "distillation": 9.0, "logistic_l2": 1e-8, "batch_norm_decay": 0.999}
    mix |= {"gate": "mean_frame", "branch_loss": True}
    netvlad = {"clusters": 8, "hidden": 1024, "output": 2048, "experts": 5, "batch_norm_decay": 0.999}
    assert {member.name: asdict(member.config) for member in line_up("paper")} == {
        "gated-netvlad": netvlad,
        "bert-l2h12-concat": {"layers": 2, "heads": 12, "pooling": "concat", **bert, **masked},
        "bert-cross-l2h8-mean": {"layers": 2, "heads": 8, "pooling": "mean", **bert},
        "bert-l3h12-concat": {"layers": 3, "heads": 12, "pooling": "concat", **bert, **masked},
        "bert-cross-l2h8-attention": {"layers": 2, "heads": 8, "pooling": "attention", **bert},
        "bert-l2h12-first": {"layers": 2, "heads": 12, "pooling": "last", **bert, **masked},
        "mix-nextvlad-300": mix,
        "mix-nextvlad-60": mix,
        "bert-l2h12-mean": {"layers": 2, "heads": 12, "pooling": "mean", **bert, **masked},
    }
    context = asdict(member_of("beyond", "context-aware").config)
    assert (context["dropout"], context["video_dropout"]) == (0.1, 0.25)


def test_dropout_reaches_every_layer_that_drops() -> None:
    import torch

    found = {}
    for member in line_up("beyond"):
        if member.framework == "torch":
            with torch.device("meta"):  # shapes alone
                module = member.config.build(yt8m.MODALITIES, 10, member.sampler.length(5))  # pyright: ignore
            found[member.name] = sorted(part.p for part in module.modules() if isinstance(part, torch.nn.Dropout))
    assert found == {
        **{f"bert-l2h12-{pooling}": [0.1] * 2 for pooling in ("concat", "first", "mean")},  # blocks
        "bert-l3h12-concat": [0.1] * 3,
        "bert-cross-l2h8-mean": [0.1] * 3,  # one for each modality, and the joint one
        "bert-cross-l2h8-attention": [0.1] * 3,
        "mix-nextvlad-300": [0.5] * 3,  # branches
        "mix-nextvlad-60": [0.5] * 3,
        "context-aware": [0.1, 0.1, 0.25],
        "frame-mean-mlp": [],
        "frame-wise": [0.1] * 2,
    }


def test_the_paper_s_members_draw_frames_as_its_scripts_do() -> None:
    kinds = {member.name: (member.sampler.kind, member.sampler.frames) for member in line_up("paper")}
    assert {name: kind for name, kind in kinds.items() if not name.startswith("bert-")} == {
        "gated-netvlad": ("frames", None),
        "mix-nextvlad-300": ("frames", 300),
        "mix-nextvlad-60": ("frames", 60),
    }
    assert {kind for name, kind in kinds.items() if name.startswith("bert-")} == {("sequence", None)}


def test_the_paper_has_figures_of_its_members_and_of_no_variant() -> None:
    assert {member.name for member in line_up("paper") if member.published_map} == set(paper.MEMBERS)
    assert [member.name for member in line_up("audioset-claims") if member.paper_name or member.published_map] == []
    assert {member.paper_name for member in line_up("audioset") if member.published_map} < {
        figures.name for figures in paper.MEMBERS.values()
    }
