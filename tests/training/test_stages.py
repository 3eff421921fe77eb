"""The whole house, tiny: every stage of a line-up as tracked runs, found again when typed again."""

import logging
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import polars as pl
import pytest

from scoring.lists.opening import read_submission
from scoring.weights.settings import SearchSettings
from tests.tracking.test_outbox import work_without_server
from tests.training.conftest import briefly, narrowed, write_tiny_store
from tracking import runs, views
from tracking.models import load_code_model, load_model
from tracking.stage import OpenStage, Stage
from tracking.store import Away
from training import line_up, members, stages
from training.fit.checkpoints import Checkpoints
from training.fit.options import TorchOptions
from training.job import Job
from training.listing import parameters
from training.ranking import SplitRanking
from training.windows.sampler import Sampler
from training.windows.segments import SegmentWindows
from videos.dataset import SPLITS
from videos.segments import rankable, segments_of
from videos.store import FrameStore

pytestmark = pytest.mark.usefixtures("store")


def shortly_boosted(*bases: str) -> members.Member:
    return replace(members.BOOSTED, config=members.BoostedConfig(bases, folds=2, rounds=10, block=5, min_data=2))


@pytest.fixture
def tiny_line_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """`tiny`: a member of each framework with schedules of seconds."""

    def tiny() -> tuple[members.Member, ...]:
        neural = [members.member_of("paper", name) for name in ("gated-netvlad", "bert-l2h12-mean")]
        return (*(briefly(narrowed(member)) for member in neural), shortly_boosted("bert-l2h12-mean"))

    monkeypatch.setitem(members.LINE_UPS, "tiny", tiny)


def job(store: FrameStore, member: str, **options) -> Job:
    return Job(lineup="tiny", member=members.member_of("tiny", member), store=store, **options)


@pytest.mark.usefixtures("tiny_line_up")
def test_a_line_up_goes_through_every_stage(
    tiny: FrameStore, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    line_up.run("tiny", tiny.folder, search=SearchSettings(trials=6), force=False, options=TorchOptions())
    printed = capsys.readouterr().out
    for member in members.line_up("tiny"):
        assert member.name in printed
    assert "cross-validated" in printed
    assert "http://127.0.0.1:8501/?dataset=tiny&lineup=tiny" in printed
    assert f"http://127.0.0.1:5000/{views.address(runs.find_run('tiny').experiment_id, 'members')}" in printed

    found = runs.find_runs("tiny", finished=False)
    assert {run.status for run in found} == {"FINISHED"}
    parents = [run for run in found if run.parent is None]
    assert sorted(run.name for run in parents) == ["bert-l2h12-mean", "boosted", "ensemble tiny", "gated-netvlad"]
    stages_of = {parent.name: sorted(r.name for r in found if r.parent == parent.run_id) for parent in parents}
    neural = ["finetune", "infer holdout", "infer test", "pretrain"]
    assert stages_of["bert-l2h12-mean"] == neural
    assert stages_of["gated-netvlad"] == neural
    assert stages_of["boosted"] == ["finetune", "infer holdout", "infer test"]

    fits = [run for run in found if run.tags.get("stage") in ("pretrain", "finetune")]
    assert {run.params["device_name"] for run in fits if run.tags["member"] != "bert-l2h12-mean"} == {"CPU"}

    infer = runs.find_run("tiny", member="bert-l2h12-mean", stage="infer", split="test")
    listed = read_submission(infer.artifact("predictions/shift-1.parquet"))
    assert listed.lists["class_id"].to_list() == tiny.dataset.scored_classes
    everything = segments_of(tiny.split("test"), tiny.dataset)["segment_id"]
    assert listed.segments.equals(everything)
    assert listed.lists["segments"].list.len().unique().to_list() == [len(everything)]

    before = {run.run_id for run in found}
    with caplog.at_level(logging.INFO):
        line_up.run("tiny", tiny.folder, search=SearchSettings(trials=6), force=False, options=TorchOptions())
    assert {run.run_id for run in runs.find_runs("tiny", finished=False)} == before
    assert caplog.text.count("done already") >= 11


def test_a_member_that_fails_does_not_end_the_line_up(
    tiny: FrameStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bert, mean = briefly(members.member_of("paper", "bert-l2h12-mean")), briefly(narrowed(members.FRAME_MEAN))
    monkeypatch.setitem(members.LINE_UPS, "three", lambda: (bert, mean, shortly_boosted(bert.name)))
    finetune = stages.finetune

    def fail(job: Job) -> runs.Record:
        if job.member.name == bert.name:
            raise RuntimeError("the loss is nan at step 17; lower the learning rate")
        return finetune(job)

    monkeypatch.setattr(stages, "finetune", fail)
    with pytest.raises(RuntimeError) as ended:
        line_up.run("three", tiny.folder, search=SearchSettings(trials=6), force=False, options=TorchOptions())
    assert str(ended.value).startswith(
        "2 of 3 members failed: bert-l2h12-mean (RuntimeError: the loss is nan at step 17; lower the learning rate); "
        "boosted (ValueError: it builds on bert-l2h12-mean); mend that and type the command again"
    )
    fused = runs.find_run("tiny", stage="fuse", split="test").metrics
    assert {name for name in fused if name.startswith("weight/")} == {"weight/frame-mean-mlp"}
    assert "frame-mean-mlp" in capsys.readouterr().out
    assert not runs.find_runs("tiny", finished=False, member="boosted")


def test_variants_of_a_member_start_from_its_weights_and_make_no_ensemble(
    tiny: FrameStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    base = briefly(members.member_of("paper", "bert-l2h12-mean"))
    started = replace(base, pretrain=None, pretrained_as=f"one/{base.name}")
    variants = (
        replace(started, name="pretrained", finetune=replace(base.finetune, steps=0)),
        replace(started, name="half", finetune=replace(base.finetune, share=0.5)),
        replace(started, name="again", pretrained_as="", finetuned_as="variants/half", shifts=(0, 2)),
    )
    monkeypatch.setitem(members.LINE_UPS, "one", lambda: (base,))
    monkeypatch.setitem(members.LINE_UPS, "variants", lambda: variants)

    def train() -> None:
        line_up.train("variants", tiny.folder, splits=["holdout"], force=False, options=TorchOptions())

    with pytest.raises(
        RuntimeError, match=f"run `python -m training pretrain {base.name} --lineup one --data .*` first"
    ):
        train()
    original = stages.pretrain(Job(lineup="one", member=base, store=tiny))
    train()
    found = runs.find_runs("tiny", lineup="variants")
    assert sorted((run.tags["member"], run.tags["stage"]) for run in found if "stage" in run.tags) == [
        ("again", "infer"),
        *((name, stage) for name in ("half", "pretrained") for stage in ("finetune", "infer")),
    ]
    with pytest.raises(ValueError, match="again has the weights of variants/half; start with infer"):
        stages.finetune(Job(lineup="variants", member=variants[-1], store=tiny))
    half, again = (runs.find_run("tiny", member=name, stage="infer") for name in ("half", "again"))
    assert again.params["checkpoint_run"] == half.params["checkpoint_run"]
    same = [pl.read_parquet(run.artifact("predictions") / "shift0.parquet") for run in (half, again)]
    assert same[0].equals(same[1])
    assert (again.artifact("predictions") / "shift2.parquet").is_file()
    tuned = {name: runs.find_run("tiny", member=name, stage="finetune") for name in ("half", "pretrained")}
    assert {run.params["start_run"] for run in tuned.values()} == {original.run_id}
    step, weights, _ = Checkpoints(original.artifact("checkpoint")).read("last", base.name)
    best, same, _ = Checkpoints(tuned["pretrained"].artifact("checkpoint")).read("best", "pretrained")
    assert best == step
    assert {name: array.tobytes() for name, array in same.items()} == {n: a.tobytes() for n, a in weights.items()}
    assert int(tuned["half"].params["examples"]) < int(tuned["pretrained"].params["examples"])
    train()
    assert len(runs.find_runs("tiny", finished=False, lineup="variants")) == len(found)


def test_a_line_up_of_which_every_member_fails_ends_before_its_fusion(
    tiny: FrameStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(members.LINE_UPS, "one", lambda: (briefly(members.member_of("paper", "bert-l2h12-mean")),))

    def fail(job: Job) -> runs.Record:
        raise OSError("disk full")

    monkeypatch.setattr(stages, "pretrain", fail)
    with pytest.raises(RuntimeError, match=r"1 of 1 members failed: bert-l2h12-mean \(OSError: disk full\)"):
        line_up.run("one", tiny.folder, search=SearchSettings(trials=6), force=False, options=TorchOptions())


def test_a_line_up_without_its_server_says_so_at_the_start_and_at_the_end_and_tells_a_program_how_it_ended(
    tiny: FrameStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(job: Job) -> runs.Record:
        work_without_server(monkeypatch)  # a stage that waits to be sent
        raise OSError("disk full")

    def prepare() -> None:
        raise Away("the server does not answer")

    monkeypatch.setitem(members.LINE_UPS, "one", lambda: (briefly(members.member_of("paper", "bert-l2h12-mean")),))
    monkeypatch.setattr(stages, "pretrain", fail)
    monkeypatch.setattr(line_up, "prepare", prepare)
    program = tmp_path / "notify.sh"
    program.write_text(f'#!/bin/sh\necho "$RUN_STATUS $RUN_DATASET $RUN_LINEUP $RUN_ERROR" > {tmp_path}/told\n')
    program.chmod(0o755)
    settings = {"search": SearchSettings(trials=6), "force": False, "options": TorchOptions()}
    with pytest.raises(RuntimeError, match="1 of 1 members failed"):
        line_up.run("one", tiny.folder, notify=str(program), **settings)
    assert (tmp_path / "told").read_text().startswith("FAILED tiny one 1 of 1 members failed: bert")
    offline = [message for message in caplog.messages if message.startswith("THE RECORD IS OFFLINE")]
    assert offline == [
        "THE RECORD IS OFFLINE: the server does not answer; training goes on, and what the server misses is sent later",
        "THE RECORD IS OFFLINE: 1 stage has not been sent to the tracking server; `python -m tracking sync` does it",
    ]


def test_what_sound_alone_does_not_allow_is_left_out_and_the_rest_becomes_an_ensemble(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A member that needs two modalities, and a booster on it; the others train, and none before all that is said."""
    write_tiny_store(tmp_path / "sound", widths={"audio": 24})
    neural = [briefly(members.member_of("paper", name)) for name in ("bert-cross-l2h8-mean", "bert-l2h12-mean")]
    astray = replace(shortly_boosted("bert-l2h12-mean", "bert-cross-l2h8-mean"), name="boosted-astray")
    monkeypatch.setitem(members.LINE_UPS, "sound", lambda: (*neural, shortly_boosted("bert-l2h12-mean"), astray))
    with caplog.at_level(logging.INFO):
        line_up.run("sound", tmp_path / "sound", search=SearchSettings(trials=6), force=False, options=TorchOptions())
    said = [record.getMessage() for record in caplog.records if record.name.startswith("training")]
    assert said[:2] == [
        "bert-cross-l2h8-mean is left out: BERTCross needs two modalities and there is only audio",
        "boosted-astray is left out: it builds on bert-cross-l2h8-mean; give it other bases in training/members.py",
    ]
    parents = {run.name: run.run_id for run in runs.find_runs("tiny", finished=True) if run.parent is None}
    assert parents.keys() == {"bert-l2h12-mean", "boosted", "ensemble sound"}
    fused = runs.find_run("tiny", stage="fuse", split="holdout").metrics
    weights = {name.removeprefix("weight/"): value for name, value in fused.items() if name.startswith("weight/")}
    assert weights.keys() == {"bert-l2h12-mean", "boosted"}
    assert sum(weights.values()) == pytest.approx(1)
    assert f"{fused['ensemble/map']:.4f}" in capsys.readouterr().out


def test_a_line_up_of_which_nothing_can_be_built_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_store(tmp_path / "sound", widths={"audio": 24})
    cross = briefly(members.member_of("paper", "bert-cross-l2h8-mean"))
    monkeypatch.setitem(members.LINE_UPS, "sound", lambda: (cross, shortly_boosted(cross.name)))
    with pytest.raises(ValueError, match=r"no member of the line-up can be built on .*sound"):
        line_up.run("sound", tmp_path / "sound", search=SearchSettings(trials=6), force=False, options=TorchOptions())


@pytest.mark.usefixtures("tiny_line_up")
def test_forcing_a_stage_redoes_what_builds_on_it(tiny: FrameStore) -> None:
    first = stages.pretrain(job(tiny, "bert-l2h12-mean"))
    tuned = stages.finetune(job(tiny, "bert-l2h12-mean"))
    assert stages.pretrain(job(tiny, "bert-l2h12-mean")).run_id == first.run_id
    again = stages.pretrain(job(tiny, "bert-l2h12-mean", force=True))
    assert again.run_id != first.run_id
    assert stages.finetune(job(tiny, "bert-l2h12-mean")).run_id != tuned.run_id


@pytest.mark.usefixtures("tiny_line_up")
@pytest.mark.parametrize("member", ["bert-l2h12-mean", "gated-netvlad"])
def test_finetuning_goes_on_where_pretraining_ended(
    tiny: FrameStore, monkeypatch: pytest.MonkeyPatch, member: str
) -> None:
    """Finetune's first checkpoint is pretrain's last: its step, its weights and Adam's moments, bit for bit."""
    ended = Checkpoints(stages.pretrain(job(tiny, member)).artifact("checkpoint"))
    begun, write = [], Checkpoints.write

    def noting(self, name, step, weights, moments, score) -> None:
        begun.append((step, content(weights), content(moments)))
        write(self, name, step, weights, moments, score)

    monkeypatch.setattr(Checkpoints, "write", noting)
    tuned = Checkpoints(stages.finetune(job(tiny, member)).artifact("checkpoint")).state
    step, weights, moments = ended.read("last", member)
    assert step == 12
    assert moments
    assert begun[0] == (step, content(weights), content(moments))
    assert begun[-1][1:] != begun[0][1:]
    assert tuned is not None
    assert (tuned.begin, tuned.last) == (12, 12 + 6)


def content(arrays: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.usefixtures("tiny_line_up")
def test_pretraining_sees_nothing_of_holdout_and_test(tiny: FrameStore) -> None:
    """The planted leak: were their videos learnt from, other labels of theirs would give other weights."""

    def learnt(store: FrameStore) -> dict[str, bytes]:
        return read_weights(stages.pretrain(job(store, "bert-l2h12-mean", force=True)).artifact("checkpoint"))

    honest = learnt(tiny)
    same = {split: learnt(mislabelled(tiny, split)) == honest for split in SPLITS}
    assert same == {"pretrain": False, "finetune": False, "holdout": True, "test": True}


def mislabelled(store: FrameStore, split: str) -> FrameStore:
    """The store with every label of a split's videos turned into the next class."""
    turned = pl.col("classes").list.eval((pl.element() + 1) % store.dataset.classes)
    theirs = pl.when(pl.col("split") == split).then(turned).otherwise("classes")
    return replace(store, videos=store.videos.with_columns(classes=theirs))


@pytest.mark.usefixtures("tiny_line_up")
def test_a_stage_out_of_turn_says_what_to_type(tiny: FrameStore) -> None:
    with pytest.raises(ValueError, match="python -m training pretrain bert-l2h12-mean"):
        stages.finetune(job(tiny, "bert-l2h12-mean"))
    with pytest.raises(ValueError, match="python -m training pretrain gated-netvlad --lineup tiny --data"):
        stages.infer(job(tiny, "gated-netvlad"), "holdout")


@pytest.mark.usefixtures("tiny_line_up")
@pytest.mark.parametrize("member", ["bert-l2h12-mean", "gated-netvlad"])
def test_the_logged_model_scores_like_the_checkpoint(tiny: FrameStore, member: str) -> None:
    stages.pretrain(job(tiny, member))
    tuned = stages.finetune(job(tiny, member))
    predictions = stages.infer(job(tiny, member), "holdout")
    segments = segments_of(tiny.split("holdout"), tiny.dataset)
    assert (segments["frames"] - segments["start"] < 5).any()  # a short last segment counts as in prediction
    features = SegmentWindows(tiny, segments, Sampler("sequence")).at(np.arange(len(segments)), 0).features
    logged = load_model(model_uri(tuned.run_id))
    if member == "bert-l2h12-mean":
        import torch

        scores = logged(torch.from_numpy(features)).detach().numpy()
    else:
        scores = np.asarray(logged(features))
    ranked = pl.read_parquet(predictions.artifact("predictions/shift0.parquet"))
    for place, class_id in enumerate(tiny.dataset.scored_classes):
        by_code = dict(zip(ranked["segments"][place].to_list(), ranked["scores"][place].to_list(), strict=True))
        expected = [by_code[code] for code in range(len(segments))]
        assert np.allclose(scores[:, class_id], expected, atol=1e-6)


@pytest.mark.usefixtures("tiny_line_up")
def test_the_logged_booster_is_the_best_one(tiny: FrameStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.boosted import stage
    from training.boosted.folds import fold_predictors

    stages.pretrain(job(tiny, "bert-l2h12-mean"))
    stages.finetune(job(tiny, "bert-l2h12-mean"))
    falling = iter([0.9, 0.8])
    monkeypatch.setattr(stage, "mean_average_precision", lambda *_: SimpleNamespace(map=next(falling)))
    boosted = job(tiny, "boosted")
    tuned = stages.finetune(boosted)
    assert (tuned.metrics["chosen_step"], tuned.metrics["finetune/map"]) == (5, 0.9)  # of 10 rounds
    logged = load_code_model(model_uri(tuned.run_id))
    segments = segments_of(tiny.split("test"), tiny.dataset)
    trained, read = boosted.trained(tuned.artifact("checkpoint")), []
    monkeypatch.setattr(stage, "fold_predictors", lambda *given: (read.append(given), fold_predictors(*given))[1])
    trained.scorer(tiny, segments)
    scores = trained.scorer(tiny, segments)(np.arange(len(segments)))[0]
    assert len(read) == 1  # one base; the models of its folds are read once, and not for every store of videos
    for video in segments["video_id"].unique():
        rows = segments.with_row_index("row").filter(pl.col("video_id") == video).sort("start")
        windows = SegmentWindows(tiny, rows, Sampler("sequence")).at(np.arange(len(rows)), 0).features
        np.testing.assert_array_equal(logged.predict(windows), scores[rows["row"].to_numpy()])
    assert len(np.unique(scores[scores > 0])) > 5


def model_uri(run_id: str) -> str:
    from tracking.store import client, experiment_id

    models = client().search_logged_models([experiment_id("tiny")], filter_string=f"source_run_id = '{run_id}'")
    assert len(models) == 1
    return f"models:/{models[0].model_id}"


@pytest.mark.usefixtures("tiny_line_up")
def test_a_stopped_fit_goes_on_where_it_was(
    tiny: FrameStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = stages.pretrain(job(tiny, "bert-l2h12-mean"))
    kept = read_weights(whole.artifact("checkpoint"))

    from training.fit.torch import TorchEstimator

    plain, steps = TorchEstimator.train_step, iter(range(100))

    def stopping(self, batch, rate):
        if next(steps) == 8:  # after the checkpoint at step 6
            raise KeyboardInterrupt
        return plain(self, batch, rate)

    monkeypatch.setattr(TorchEstimator, "train_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        stages.pretrain(job(tiny, "bert-l2h12-mean", force=True))
    monkeypatch.setattr(TorchEstimator, "train_step", plain)
    with monkeypatch.context() as patch, caplog.at_level(logging.INFO):
        patch.setattr(Stage, "finished", lambda _: None)
        resumed = stages.pretrain(job(tiny, "bert-l2h12-mean"))
    assert "resumes at step 6" in caplog.text
    assert read_weights(resumed.artifact("checkpoint")) == kept
    statuses = [run.status for run in runs.find_runs("tiny", finished=False, stage="pretrain")]
    assert statuses == ["FINISHED", "FINISHED"]  # the whole one, and the interrupted one, resumed as the same run


def read_weights(checkpoint: Path) -> dict[str, bytes]:
    _, weights, moments = Checkpoints(checkpoint).read("last", "bert-l2h12-mean")
    return content({**weights, **moments})


def test_a_member_without_pretraining_is_fine_tuned_and_predicts(
    tiny: FrameStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_nothing = replace(briefly(members.member_of("paper", "bert-l2h12-mean")), pretrain=None)
    monkeypatch.setitem(members.LINE_UPS, "tiny", lambda: (from_nothing,))
    own = job(tiny, from_nothing.name)
    tuned = stages.finetune(own)
    assert tuned.params["parameters"] == str(parameters(own.member, tiny.dataset))
    assert stages.finetune(own).run_id == tuned.run_id
    assert stages.infer(own, "holdout").params["checkpoint_run"] == tuned.run_id
    with pytest.raises(ValueError, match="has no pre-training; start with finetune"):
        stages.pretrain(own)


def test_places_that_nobody_rates_are_scored_but_not_ranked(tiny: FrameStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store = replace(tiny, dataset=replace(tiny.dataset, unrated_ends=(1, 1)))
    segments = segments_of(store.split("test"), store.dataset)
    scores = np.random.default_rng(0).random((len(segments), len(store.dataset.scored_classes)), dtype=np.float32)
    monkeypatch.setattr("training.ranking.SEGMENTS", 3)
    trained = SimpleNamespace(scorer=lambda *_: lambda entries: scores[None, entries])
    job = cast(Job, SimpleNamespace(store=store, trained=lambda _: trained))
    start = cast(runs.Record, SimpleNamespace(reading=lambda *_: nullcontext([None])))
    opened = cast(OpenStage, SimpleNamespace(run=SimpleNamespace(progress=lambda *_: None)))
    ids = segments["segment_id"].filter(segments.select(rankable(store.dataset)).to_series())
    ranking = SplitRanking(store.folder / "kept", (0,), store.dataset.scored_classes, ids)
    stages._rank(job, start, segments, ranking, opened, "")
    _, submission = next(ranking.submissions())
    last = (segments["frames"] + 4) // 5 * 5 - 5
    is_inner = ((segments["start"] > 0) & (segments["start"] < last)).to_numpy()
    assert 0 < is_inner.sum() < len(segments)
    assert submission.segments.to_list() == segments["segment_id"].filter(is_inner).to_list()
    for place, codes in enumerate(submission.lists["segments"]):
        best = np.argsort(-scores[is_inner][:, place])
        assert codes.to_list() == best.tolist()
