"""The final refit of a line-up: on everything rated, with nothing left to choose, and never taken for the line-up."""

import logging
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from dashboard import data
from scoring.weights.objective import Objective
from scoring.weights.settings import SearchSettings
from tests.training.cluster_members import BOOSTED, TOY
from tracking import metrics, runs
from tracking.lineage import origin_of, run_of_submission
from tracking.registry import best_version, versions
from training import line_up, members, stages
from training.boosted import stage as boosted_stage
from training.fit.checkpoints import Checkpoints
from training.fit.holdout import Holdout
from training.fit.kinds import KINDS
from training.fit.loop import fit
from training.fit.options import TorchOptions
from training.job import Job
from training.members import member_of
from training.windows.examples import SegmentExamples
from videos.store import FrameStore, open_frames

SETTINGS = {"search": SearchSettings(trials=6), "options": TorchOptions()}
BEST = 4  # of 6 steps of fine-tuning
BEST_ROUND = 5  # of 10
MEMBERS = (replace(TOY, finetune=replace(TOY.finetune, steps=6, evaluate_every=2)), BOOSTED)


def run(store: FrameStore, force: bool = False, final: bool = False) -> None:
    line_up.run("toys", store.folder, force=force, final=final, **SETTINGS)


def never(*_: object) -> None:
    raise AssertionError("a final refit has measured something")


@dataclass(frozen=True)
class World:
    """A finished line-up and its final refit: their runs by owner and stage, and what the dashboard read in between."""

    store: FrameStore
    submissions: Path
    board: data.LineUp
    first: Mapping[str, runs.Record]
    final: Mapping[str, runs.Record]


def read(lineup: str) -> dict[str, runs.Record]:
    found = runs.find_runs("tiny", finished=False, lineup=lineup)
    assert {run.status for run in found} == {"FINISHED"}
    names = {run.run_id: run.name for run in found}
    return {f"{names[run.parent]} {run.name}": run for run in found if run.parent}


@pytest.fixture(scope="module")
def world(migrated_store: Path, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("final")
    (folder / "mlflow.db").write_bytes(migrated_store.read_bytes())
    store = open_frames(tiny_folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.setattr(line_up, "SUBMISSIONS", folder / "submissions")
        patch.setitem(KINDS, "toy", "tests.training.toy_kind")
        patch.setitem(members.LINE_UPS, "toys", lambda: MEMBERS)
        with pytest.raises(ValueError, match=r"the line-up toys is not finished \(no weights have been searched\)"):
            run(store, final=True)
        assert not runs.find_runs("tiny", finished=False)  # refused before anything was done
        with patch.context() as scores:  # the best checkpoints are not the last ones
            begin, falling = TOY.pretrain.steps if TOY.pretrain else 0, iter([0.9, 0.8])
            scores.setattr(Holdout, "score", lambda _, own: 0.9 - abs(own.step - begin - BEST) / 100)
            scores.setattr(boosted_stage, "mean_average_precision", lambda *_: SimpleNamespace(map=next(falling)))
            run(store)
        board = data.line_up("tiny", "toys")
        with patch.context() as scores:  # nothing is measured
            for module, name in ((boosted_stage, "mean_average_precision"), (stages, "mean_average_precision")):
                scores.setattr(module, name, never)
            scores.setattr(Objective, "of", never)
            run(store, final=True)
        yield World(store, folder / "submissions", board, read("toys"), read("toys-final"))


def test_a_refit_sees_no_holdout_in_any_process(tiny: FrameStore) -> None:
    rated = {*tiny.split("finetune")["video_id"], *tiny.split("holdout")["video_id"]}
    job = Job(lineup="demo-final", member=TOY, store=tiny)
    for own in (job, replace(job, force=True), pickle.loads(pickle.dumps(job))):
        assert own.store.split("holdout").is_empty()
        assert set(own.store.split("finetune")["video_id"]) == rated
        assert own.store.split("test").equals(tiny.split("test"))
    plain = Job(lineup="demo", member=TOY, store=tiny)
    assert pickle.loads(pickle.dumps(plain)).store.split("holdout").equals(tiny.split("holdout"))


def test_a_refit_has_the_members_of_its_line_up() -> None:
    assert members.line_up("audioset-seed2-final") == members.line_up("audioset-seed2")
    with pytest.raises(ValueError, match="there is no line-up 'demo-final-final'"):
        members.line_up("demo-final-final")


@pytest.mark.slow
def test_its_runs_are_named_and_tagged_apart_and_measure_nothing(world: World) -> None:
    assert world.final.keys() == {
        "toy-kind final finetune",
        "toy-kind final infer test",
        "boosted final finetune",
        "boosted final infer test",
        "ensemble toys-final merge test",
        "ensemble toys-final fuse test",
    }
    for name, record in world.final.items():
        maps = [metric for metric in record.metrics if metric.endswith(("map", "/cv", "/low", "/high"))]
        assert maps == [], name
    parents = [run for run in runs.find_runs("tiny", lineup="toys-final") if run.parent is None]
    assert all(set(run.metrics) <= {"k", "weight/toy-kind", "weight/boosted"} for run in parents)


@pytest.mark.slow
def test_it_learns_from_everything_rated_for_the_steps_that_were_best_before(world: World) -> None:
    first, final = world.first["toy-kind finetune"], world.final["toy-kind final finetune"]
    everything = world.store.judgments.height
    assert (final.params["steps"], final.params["steps_run"]) == (str(BEST), first.run_id)
    assert int(final.params["examples"]) > int(first.params["examples"])
    boosted = world.final["boosted final finetune"]
    assert (boosted.params["rounds"], boosted.metrics[metrics.CHOSEN_STEP]) == (str(BEST_ROUND), BEST_ROUND)
    assert world.first["boosted finetune"].params["rounds"] == "10"

    # By hand: the pre-trained weights of the first fit, on the ratings of both splits.
    member = replace(MEMBERS[0], finetune=replace(MEMBERS[0].finetune, steps=BEST))
    together = replace(
        world.store,
        videos=world.store.videos.with_columns(split=world.store.videos["split"].replace("holdout", "finetune")),
    )
    examples = SegmentExamples(together, member.sampler, "none")
    assert len(examples) == world.store.judgments["segment_id"].n_unique() <= everything
    estimator = Job(lineup="toys", member=member, store=together).estimator()
    estimator.restore(*Checkpoints(world.first["toy-kind pretrain"].artifact("checkpoint")).read("last", member.name))
    own = Checkpoints(world.submissions.parent / "by-hand")
    fit(estimator, examples, member=member, schedule=member.finetune, checkpoints=own)
    step, weights, _ = Checkpoints(final.artifact("checkpoint")).read("best", member.name)
    assert step == estimator.step
    assert {name: array.tobytes() for name, array in weights.items()} == {
        name: array.tobytes() for name, array in estimator.weights().items()
    }


@pytest.mark.slow
def test_it_is_fused_with_the_weights_found_before(world: World) -> None:
    search, fused = world.first["ensemble toys optimize"], world.final["ensemble toys-final fuse test"]
    assert metrics.weights(fused.metrics) == metrics.weights(search.metrics)
    assert fused.metrics[metrics.K] == search.metrics[metrics.K]
    assert fused.params["optimize_run"] == search.run_id
    assert fused.tags[runs.SUBMISSION] != world.first["ensemble toys fuse test"].tags[runs.SUBMISSION]


@pytest.mark.slow
def test_submissions_say_whose_they_are(world: World) -> None:
    assert {path.name for path in world.submissions.iterdir()} == {"tiny-toys-test.csv", "tiny-toys-final.csv"}
    first, final = world.submissions / "tiny-toys-test.csv", world.submissions / "tiny-toys-final.csv"
    assert run_of_submission(first) == world.first["ensemble toys fuse test"].run_id
    fused = world.final["ensemble toys-final fuse test"]
    assert run_of_submission(final) == fused.run_id
    assert final.read_bytes() == fused.artifact("submission.csv").read_bytes()
    made_of = {part.run_id for part in origin_of(fused.run_id).walk()}
    assert {run.run_id for run in world.final.values()} - made_of == {
        world.final["ensemble toys-final merge test"].run_id
    }
    names = ("toy-kind pretrain", "toy-kind finetune", "boosted finetune", "ensemble toys optimize")
    assert {world.first[name].run_id for name in names} <= made_of


@pytest.mark.parametrize(
    ("dataset", "lineup", "name"),
    [
        ("audioset", "audioset", "audioset-test.csv"),
        ("audioset", "audioset-final", "audioset-final.csv"),
        ("audioset", "audioset-seed2", "audioset-seed2-test.csv"),
        ("audioset", "audioset-seed2-final", "audioset-seed2-final.csv"),
        ("audioset", "paper", "audioset-paper-test.csv"),
        ("synthetic", "demo", "synthetic-demo-test.csv"),
        ("synthetic", "demo-final", "synthetic-demo-final.csv"),
    ],
)
def test_a_submission_is_named_after_its_dataset_and_line_up(dataset: str, lineup: str, name: str) -> None:
    assert line_up.submission_name(dataset, lineup) == name


@pytest.mark.slow
def test_the_dashboard_shows_the_line_up_as_before(world: World) -> None:
    assert runs.line_ups() == {"tiny": ["toys"]}
    assert data.line_up("tiny", "toys") == world.board


@pytest.mark.slow
def test_its_models_are_registered_apart_and_the_newest_is_the_best(world: World) -> None:
    for member in ("toy-kind", "boosted", "ensemble"):
        (version,) = versions(f"tiny.toys-final.{member}")
        assert best_version(f"tiny.toys-final.{member}") == version
        assert len(versions(f"tiny.toys.{member}")) == 1


@pytest.mark.slow
def test_what_is_finished_is_not_repeated_and_what_is_forced_is(world: World, caplog: pytest.LogCaptureFixture) -> None:
    before = {run.run_id for run in runs.find_runs("tiny", finished=False)}
    with caplog.at_level(logging.INFO):
        run(world.store, final=True)
    assert {run.run_id for run in runs.find_runs("tiny", finished=False)} == before
    assert caplog.text.count("done already") == 5
    again = stages.finetune(Job(lineup="toys-final", member=MEMBERS[0], store=world.store, force=True))
    assert again.run_id not in before
    best = best_version("tiny.toys-final.toy-kind")
    assert best is not None
    assert best.run_id == again.run_id


@pytest.mark.slow
def test_stages_that_a_refit_does_not_have_are_refused(world: World) -> None:
    job = Job(lineup="toys-final", member=MEMBERS[0], store=world.store)
    with pytest.raises(ValueError, match="toy-kind has no pre-training; start with finetune"):
        stages.pretrain(job)
    with pytest.raises(ValueError, match="toys-final has learned from the holdout split and is not scored on it; give"):
        stages.infer(job, "holdout")


@pytest.mark.slow
def test_weights_of_other_runs_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(reason: str) -> None:
        command = f"run `python -m training run --lineup toys --data {world.store.folder}` first, with the same options"
        with pytest.raises(ValueError, match="is not finished") as error:
            run(world.store, final=True)
        assert str(error.value) == f"the line-up toys is not finished ({reason}), so it has no final refit; {command}"

    with monkeypatch.context() as patch:
        patch.setitem(members.LINE_UPS, "toys", lambda: (replace(MEMBERS[0], seed=3), BOOSTED))
        refused("toy-kind is not fine-tuned as configured on this data")
        patch.setitem(members.LINE_UPS, "toys", lambda: MEMBERS[:1])
        refused("its weights are of other members: boosted")
    stages.finetune(Job(lineup="toys", member=member_of("toys", "toy-kind"), store=world.store, force=True))
    refused("toy-kind was trained again after the search for weights")


def test_there_must_be_something_to_predict(tiny: FrameStore, monkeypatch: pytest.MonkeyPatch) -> None:
    without = replace(tiny, videos=tiny.videos.filter(tiny.videos["split"] != "test"))
    monkeypatch.setattr(line_up, "open_frames", lambda _: without)
    with pytest.raises(ValueError, match="has no video in the split test, which a final refit predicts"):
        line_up.run("demo", tiny.folder, force=False, final=True, **SETTINGS)
