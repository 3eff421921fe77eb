"""A new member, a new architecture and a new kind are each what the README says they are, and no more.

One of each is defined here (the kind in `toy_kind`) and goes through every stage.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from scoring.weights.settings import SearchSettings
from tests.training.conftest import briefly
from tests.training.toy_kind import ToyEstimator, ToyLinearConfig
from tracking import runs
from tracking.models import load_model
from tracking.stage import Stage
from tracking.store import client, experiment_id
from training import line_up, members, stages
from training.fit.checkpoints import Checkpoints
from training.fit.kinds import KINDS
from training.fit.options import TorchOptions
from training.job import SUBJECTS, Job
from training.listing import print_members
from training.member import Member
from training.models.architecture import TorchArchitecture
from training.models.bert import BertConfig
from training.models.layers.heads import MixtureOfExperts
from training.models.window_model import WindowModel
from training.windows.sampler import Sampler
from training.windows.segments import SegmentWindows
from videos.segments import segments_of
from videos.store import FrameStore

pytestmark = pytest.mark.usefixtures("store", "toys")


@dataclass(frozen=True)
class ToyMeanConfig(TorchArchitecture):
    """The least that an architecture in PyTorch can be."""

    experts: int = 2

    def build(self, widths: Mapping[str, int], classes: int, window: int) -> "ToyMean":
        return ToyMean(sum(widths.values()), classes, self.experts)


class ToyMean(WindowModel):
    def __init__(self, width: int, classes: int, experts: int):
        super().__init__()
        self.head = MixtureOfExperts(width, classes, experts)

    def encode_frames(self, frames: Tensor, frame_weights: Tensor | None = None) -> tuple[Tensor, ...]:
        return (frames,)

    def score_windows(self, encoded: tuple[Tensor, ...], frame_weights: Tensor | None = None) -> Tensor:
        return self.head(encoded[0].mean(1))


TOYS = (
    briefly(Member("toy-member", BertConfig(layers=1, heads=4, pooling="mean", intermediate=32), (-1, 0, 1))),
    briefly(Member("toy-architecture", ToyMeanConfig(), (0, 1))),
    briefly(Member("toy-kind", ToyLinearConfig(), (0, 1), Sampler("frames"))),
)
EACH = pytest.mark.parametrize("toy", TOYS, ids=lambda toy: toy.name)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "toy", "tests.training.toy_kind")
    monkeypatch.setitem(members.LINE_UPS, "toys", lambda: TOYS)


def stage_of(toy: Member, stage: str, **tags: str) -> runs.Record:
    return runs.find_run("tiny", member=toy.name, stage=stage, **tags)


def test_each_goes_through_every_stage(
    tiny: FrameStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line_up.run("toys", tiny.folder, search=SearchSettings(trials=6), force=False, options=TorchOptions())
    printed = capsys.readouterr().out
    segments = segments_of(tiny.split("holdout"), tiny.dataset).filter(pl.col("frames") - pl.col("start") >= 5)  # whole
    before = {run.run_id for run in runs.find_runs("tiny", finished=False)}
    for toy in TOYS:
        assert toy.name in printed
        tuned = stage_of(toy, "finetune")
        for stage, run in (("pretrain", stage_of(toy, "pretrain")), ("finetune", tuned)):
            assert run.status == "FINISHED"
            assert run.metrics.keys() >= {f"{SUBJECTS[stage]}/map", "loss"}
        for split in ("holdout", "test"):
            folder = stage_of(toy, "infer", split=split).artifact("predictions")
            assert {path.stem for path in folder.glob("shift*")} == {f"shift{shift}" for shift in toy.shifts}
        # The logged model scores what the kept weights do.
        models = client().search_logged_models([experiment_id("tiny")], f"source_run_id = '{tuned.run_id}'")
        features = SegmentWindows(tiny, segments, Sampler("sequence")).at(np.arange(3), 0).features
        logged = load_model(f"models:/{models[0].model_id}")(torch.from_numpy(features)).detach().numpy()
        estimator = Job(lineup="toys", member=toy, store=tiny).estimator()
        estimator.restore(*Checkpoints(tuned.artifact("checkpoint")).read("best", toy.name))
        windows = SegmentWindows(tiny, segments, replace(toy.sampler, frames=None)).at(np.arange(3), 0)
        np.testing.assert_allclose(estimator.predictor(np.arange(tiny.dataset.classes))(windows), logged, atol=1e-6)
    # Each is found by its digest, without MLflow, whose import takes longer than the rest of a command with no work.
    monkeypatch.setattr("tracking.store._open", lambda *_: pytest.fail("the store was opened by MLflow"))
    line_up.run("toys", tiny.folder, search=SearchSettings(trials=6), force=False, options=TorchOptions())
    assert {run.run_id for run in runs.find_runs("tiny", finished=False)} == before


def test_each_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    print_members("toys", as_json=False)
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.startswith("toy-")}
    assert rows.keys() == {toy.name for toy in TOYS}
    assert "toy " in rows["toy-kind"]
    assert f"{1152 * 3862:,}" in rows["toy-kind"]
    assert f"{1152 * 3862 * 3 + (1152 + 1) * 3862 * 2:,}" in rows["toy-architecture"]


@EACH
def test_each_digest_follows_its_hyper_parameters(tiny: FrameStore, toy: Member) -> None:
    name = {"toy-member": "layers", "toy-architecture": "experts", "toy-kind": "momentum"}[toy.name]
    other = replace(toy, config=replace(toy.config, **{name: 0.5 if name == "momentum" else 3}))
    assert Job(lineup="toys", member=toy, store=tiny).digest("pretrain") == Job(
        lineup="toys", member=toy, store=tiny
    ).digest("pretrain")
    assert Job(lineup="toys", member=toy, store=tiny).digest("pretrain") != Job(
        lineup="toys", member=other, store=tiny
    ).digest("pretrain")


@EACH
def test_each_resumes_where_it_was_interrupted(tiny: FrameStore, toy: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(lineup="toys", member=toy, store=tiny)
    whole = weights_of(stages.pretrain(job).artifact("checkpoint"), toy)
    cls = type(job.estimator())
    plain, steps = cls.train_step, iter(range(100))

    def stopping(self, batch, rate):
        if next(steps) == 8:  # after the checkpoint at step 6
            raise KeyboardInterrupt
        return plain(self, batch, rate)

    with monkeypatch.context() as patch:
        patch.setattr(cls, "train_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            stages.pretrain(replace(job, force=True))
    monkeypatch.setattr(Stage, "finished", lambda *_: None)
    resumed = stages.pretrain(job)
    assert weights_of(resumed.artifact("checkpoint"), toy) == whole
    assert next(steps) == 9


def weights_of(checkpoint: Path, toy: Member) -> dict[str, bytes]:
    _, weights, moments = Checkpoints(checkpoint).read("last", toy.name)
    return {name: array.tobytes() for name, array in {**weights, **{f"m/{n}": a for n, a in moments.items()}}.items()}


def test_a_kind_without_an_entry_is_refused_with_those_there_are(
    tiny: FrameStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(KINDS, "toy")
    with pytest.raises(ValueError, match="toy-kind is of the kind 'toy'; the kinds are torch, keras, lightgbm"):
        Job(lineup="toys", member=TOYS[-1], store=tiny).estimator()


def test_a_kind_works_with_what_it_is_given(tiny: FrameStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(Job(lineup="toys", member=TOYS[-1], store=tiny).estimator(), ToyEstimator)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="training toy-kind in NumPy is work for one process"):
        stages.pretrain(Job(lineup="toys", member=TOYS[-1], store=tiny))


def test_each_training_stage_started_twice_at_once_is_one_run(tiny: FrameStore) -> None:
    job = Job(lineup="toys", member=TOYS[-1], store=tiny)
    for stage in (stages.pretrain, stages.finetune, lambda job: stages.infer(job, "holdout")):
        with ThreadPoolExecutor(2) as pool:
            both = [future.result().run_id for future in [pool.submit(stage, job) for _ in range(2)]]
        assert both[0] == both[1]
    assert len([run for run in runs.find_runs("tiny", finished=False) if run.parent]) == 3
