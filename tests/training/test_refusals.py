"""What would fail late, or mean nothing, is refused before anything is trained."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from scoring.weights.settings import SearchSettings
from tests.training.conftest import briefly
from tracking.stage import Stage
from training import line_up, members, stages
from training.fit.options import TorchOptions
from training.job import Job
from training.member import Member, Schedule
from training.models.bert import BertConfig
from training.models.bert_cross import BertCrossConfig
from training.models.boosted import BoostedConfig
from training.models.context_aware import ContextAwareConfig
from training.models.gated_netvlad import GatedNetVladConfig
from training.models.mix_nextvlad import MixNeXtVladConfig
from training.windows.sampler import Sampler
from videos.store import FrameStore


@pytest.fixture(autouse=True)
def nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever begins a run of a stage fails the test."""

    def begun(*_: object, **__: object) -> None:
        raise AssertionError("a stage has begun")

    monkeypatch.setattr(Stage, "open", begun)
    monkeypatch.setattr(Job, "estimator", begun)
    monkeypatch.setitem(members.LINE_UPS, "brief", lambda: (briefly(members.member_of("paper", "bert-l2h12-mean")),))


def brief(store: FrameStore, options: TorchOptions) -> Job:
    return Job(lineup="brief", member=members.member_of("brief", "bert-l2h12-mean"), store=store, options=options)


def without(split: str) -> Callable[[FrameStore], FrameStore]:
    return lambda store: replace(store, videos=store.videos.filter(pl.col("split") != split))


def unrated(split: str) -> Callable[[FrameStore], FrameStore]:
    def drop(store: FrameStore) -> FrameStore:
        theirs = store.split(split)["video_id"].to_list()
        video = pl.col("segment_id").str.extract(r"^(.*):")
        return replace(store, judgments=store.judgments.filter(~video.is_in(theirs)))

    return drop


def with_classes(classes: list[int]) -> Callable[[FrameStore], FrameStore]:
    return lambda store: replace(store, dataset=replace(store.dataset, scored_classes=classes))


def all_absent(store: FrameStore) -> FrameStore:
    return replace(store, judgments=store.judgments.with_columns(relevance=pl.lit(0, pl.Int16)))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (without("holdout"), "has no positive rating of a scored class in the split holdout"),
        (without("finetune"), "rates no scored class in the split finetune"),
        (unrated("holdout"), "has no positive rating of a scored class in the split holdout"),
        (unrated("finetune"), "rates no scored class in the split finetune"),
        (all_absent, "has no positive rating of a scored class in the split holdout"),
        (with_classes([]), "scores no class; ingest rated shards, or give --segment-classes"),
        (with_classes([1]), "rates no scored class in the split finetune"),
    ],
)
def test_run_refuses_data_that_it_could_not_finish_on(
    tiny: FrameStore, monkeypatch: pytest.MonkeyPatch, change: Callable[[FrameStore], FrameStore], sentence: str
) -> None:
    monkeypatch.setattr(line_up, "open_frames", lambda folder: change(tiny))
    with pytest.raises(ValueError, match=sentence) as raised:
        line_up.run("brief", tiny.folder, search=SearchSettings(trials=6), force=False, options=TorchOptions())
    assert str(tiny.folder) in str(raised.value)


OPTIONS = [
    (TorchOptions(accumulate=3), "--accumulate is 3, which does not divide a batch of 16; choose a divisor"),
    (TorchOptions(accumulate=32), "--accumulate is 32, which does not divide a batch of 16"),
    (TorchOptions(device="nowhere"), "torch has no device 'nowhere' on this machine; give --device cpu"),
    (TorchOptions(device="cuda:99"), "torch has no device 'cuda:99' on this machine"),
]


@pytest.mark.parametrize(("options", "sentence"), OPTIONS)
def test_run_refuses_options_that_no_batch_or_machine_suits(
    tiny: FrameStore, options: TorchOptions, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        line_up.run("brief", tiny.folder, search=SearchSettings(trials=6), force=False, options=options)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(("options", "sentence"), OPTIONS)
@pytest.mark.parametrize("stage", [stages.pretrain, stages.finetune])
def test_a_stage_refuses_them_too(tiny: FrameStore, stage: Callable, options: TorchOptions, sentence: str) -> None:
    job = brief(tiny, options)
    with pytest.raises(ValueError, match=sentence):
        stage(job)


@pytest.mark.usefixtures("store")
def test_prediction_refuses_an_unknown_device(tiny: FrameStore) -> None:
    job = brief(tiny, TorchOptions(device="nowhere"))
    with pytest.raises(ValueError, match="torch has no device 'nowhere'"):
        stages.infer(job, "holdout")


@pytest.mark.usefixtures("store")
def test_a_member_that_builds_on_others_needs_what_they_need(tiny: FrameStore, monkeypatch: pytest.MonkeyPatch) -> None:
    bert = briefly(members.member_of("paper", "bert-l2h12-mean"))
    monkeypatch.setitem(members.LINE_UPS, "boosted", lambda: (bert, members.BOOSTED))
    with pytest.raises(ValueError, match="--accumulate is 3, which does not divide a batch of 16"):
        stages.finetune(Job(lineup="boosted", member=members.BOOSTED, store=tiny, options=TorchOptions(accumulate=3)))


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("processes", "options", "sentence"),
    [
        (3, TorchOptions(), "3 processes do not divide a batch of 16"),
        (2, TorchOptions(accumulate=16), "--accumulate is 16, which does not divide a batch of 8"),
    ],
)
def test_processes_must_divide_a_batch(
    tiny: FrameStore, monkeypatch: pytest.MonkeyPatch, processes: int, options: TorchOptions, sentence: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    job = brief(tiny, options)
    with pytest.raises(ValueError, match=sentence):
        stages.pretrain(job)


@pytest.mark.parametrize("member", ["gated-netvlad-h256", "boosted"])
def test_some_kinds_are_trained_by_one_process(tiny: FrameStore, monkeypatch: pytest.MonkeyPatch, member: str) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=f"training {member} in .* is work for one process"):
        stages.finetune(Job(lineup="demo", member=members.member_of("demo", member), store=tiny))


BERT, SEQUENCE = BertConfig(), Sampler("sequence")


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (Sampler, {"kind": "frame"}),
        (Sampler, {"kind": "sequence", "frames": 5}),
        (Sampler, {"kind": "sequence", "weighted": True}),
        (Sampler, {"kind": "sequence", "inference_seed": 0}),
        (Sampler, {"kind": "frames", "frames": 0}),
        (Sampler, {"kind": "frames", "frames": -3}),
        (Sampler, {"kind": "frames", "surroundings": 2}),
        (Sampler, {"kind": "frames", "video_frames": 2}),
        (Sampler, {"kind": "sequence", "surroundings": -1}),
        (Sampler, {"kind": "sequence", "video_frames": -1}),
        (Sampler, {"kind": "frames", "inference_seed": -1}),
        *((lambda **values: Schedule(**{"steps": 4, "evaluate_every": 2, **values}), wrong) for wrong in (
            {"steps": -1}, {"evaluate_every": 0}, {"batch": 0}, {"learning_rate": 0.0}, {"learning_rate": float("nan")},
            {"decay": 0.0}, {"decay": 1.1}, {"decay_examples": 0}, {"warmup": -1}, {"label_mask": "all"},
        )),
        *((TorchOptions, wrong) for wrong in ({"accumulate": 0}, {"accumulate": -1}, {"precision": "fp16"})),
        *((BertConfig, wrong) for wrong in (
            {"layers": 0}, {"heads": 0}, {"pooling": "median"}, {"intermediate": 0}, {"dropout": -0.1},
            {"dropout": 1.1}, {"experts": 0},
        )),
        *((BertCrossConfig, wrong) for wrong in (
            {"layers": 1}, {"heads": 0}, {"pooling": "median"}, {"intermediate": 0}, {"dropout": 2.0}, {"experts": 0},
        )),
        *((ContextAwareConfig, wrong) for wrong in (
            {"surroundings": -1}, {"video_frames": 0}, {"hidden": 0}, {"layers": 0}, {"heads": 0}, {"heads": 7},
            {"intermediate": 0}, {"dropout": -1.0}, {"video_dropout": 1.5}, {"experts": 0},
        )),
        *((MixNeXtVladConfig, wrong) for wrong in (
            {"branches": 0}, {"clusters": 1}, {"groups": 1}, {"expansion": 0}, {"hidden": 8}, {"gating_reduction": 0},
            {"dropout": -0.5}, {"temperature": 0.0}, {"distillation": -1.0}, {"gate": "mean"}, {"logistic_l2": -1.0},
            {"batch_norm_decay": 1.0}, {"batch_norm_decay": 0.0},
        )),
        *((GatedNetVladConfig, wrong) for wrong in (
            {"clusters": 1}, {"hidden": 0}, {"output": 0}, {"experts": 0}, {"batch_norm_decay": 1.0},
        )),
        *((lambda **values: BoostedConfig(**{"bases": ("a",), **values}), wrong) for wrong in (
            {"bases": ()}, {"bases": ("a", "a")}, {"folds": 1}, {"candidates": 0}, {"mined": -1}, {"rounds": 0},
            {"block": 0}, {"learning_rate": 0.0}, {"leaves": 1}, {"min_data": -1}, {"feature_fraction": 0.0},
            {"feature_fraction": 1.1}, {"bagging_fraction": 0.0}, {"bagging_fraction": 2.0},
        )),
        *((lambda **values: replace(Member("m", BERT, (0,)), **values), wrong) for wrong in (
            {"shifts": ()}, {"shifts": (0, 0)}, {"sampler": Sampler("frames", weighted=True)},
        )),
        (lambda **values: Member("m", BoostedConfig(("a",)), (0,), **values), {"pretrain": Schedule(1, 1)}),
    ],
)  # fmt: skip
def test_a_contradictory_config_is_not_made(make: Callable, wrong: dict[str, object]) -> None:
    name = next(reversed(wrong))
    about = {"sampler": "weighted", "pretrain": "no pre-training"}.get(name, name)
    with pytest.raises(ValueError, match=about):
        make(**wrong)


def test_the_command_line_says_it_in_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training", "run", "--lineup", "demo", "--data", str(tmp_path)]
    done = subprocess.run([*command, "--accumulate", "0"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    said = " ".join(done.stderr.replace("│", " ").split())
    assert "--accumulate is 0; it must be at least 1" in said
    assert "Traceback" not in done.stderr
