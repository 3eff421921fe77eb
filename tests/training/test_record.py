"""The record of a training stage is whole and told once, whatever happens to the process or to the tracking server."""

import contextlib
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Server
from tests.training.test_toys import TOYS
from tests.training.toy_kind import ToyEstimator
from tracking import metrics, outbox, runs, store
from tracking.commands.sync import sync
from tracking.models import load_model
from tracking.outbox import outbox_folder
from tracking.store import client
from tracking.writing import Run
from training import members, ranking, stages
from training.fit import loop
from training.fit.kinds import KINDS
from training.job import Job
from training.member import Schedule
from videos.store import FrameStore

TOY = replace(TOYS[-1], pretrain=Schedule(12, 4, batch=16, learning_rate=1e-3))


class Killed(BaseException):
    """Ends a process as SIGKILL does: nothing is written any more."""


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "toy", "tests.training.toy_kind")
    monkeypatch.setitem(members.LINE_UPS, "toys", lambda: (TOY,))
    monkeypatch.setattr(loop, "REPORT_EVERY", 1)


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, Callable[[], None]], None]]:
    """Calls a function before the given step of a fit."""
    plain = ToyEstimator.train_step

    def at_step(step: int, call: Callable[[], None]) -> None:
        def stepping(self: ToyEstimator, batch, rate: float) -> float:
            if self.step == step:
                call()
            return plain(self, batch, rate)

        monkeypatch.setattr(ToyEstimator, "train_step", stepping)

    yield at_step
    monkeypatch.setattr(ToyEstimator, "train_step", plain)


def job(store: FrameStore, **options) -> Job:
    return Job(lineup="toys", member=TOY, store=store, **options)


def history(run: runs.Record, metric: str) -> list[int]:
    """The steps of a metric in the store, with repetitions."""
    return [point.step for point in client().get_metric_history(run.run_id, metric)]


def kill(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process does when it is killed: no run is ended, and to others it is dead."""

    def die(*_: object, **__: object) -> None:
        raise Killed

    for place in ("tracking.writing.apply", "tracking.operations.apply"):
        monkeypatch.setattr(place, die)
    monkeypatch.setattr("tracking.outbox.Outbox._append", die)
    monkeypatch.setattr("tracking.outbox.Outbox.close", die)
    raise Killed


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("killed_at", [1, 4, 6, 11])
def test_a_killed_stage_is_resumed_as_the_same_run_and_has_each_step_once(
    tiny: FrameStore, monkeypatch: pytest.MonkeyPatch, at_step: Callable, killed_at: int
) -> None:
    with monkeypatch.context() as patch:
        at_step(killed_at, lambda: kill(patch))
        with pytest.raises(Killed):
            stages.pretrain(job(tiny))
    at_step(-1, lambda: None)
    (killed,) = runs.find_runs("tiny", finished=False, stage="pretrain")
    assert killed.status == "RUNNING"
    sent = history(killed, "loss")  # up to the last checkpoint that was on disk
    assert sent == list(range(1, len(sent) + 1))
    assert len(sent) in range(0, killed_at + 1, 4)
    resumed = stages.pretrain(job(tiny))
    assert (resumed.run_id, resumed.status) == (killed.run_id, "FINISHED")
    assert len(runs.find_runs("tiny", finished=False, stage="pretrain")) == 1
    assert history(resumed, "loss") == list(range(1, 13))
    assert history(resumed, "map") == [0, 4, 8, 12]
    for metric in ("seconds", "chosen_step", "pretrain/map"):
        assert history(resumed, metric) == [0]
    assert list(outbox_folder().iterdir()) == []


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("stage", ["pretrain", "infer"])
@pytest.mark.parametrize("moment", ["figure", "end"])
def test_a_stage_that_was_killed_after_its_work_has_each_result_once(
    tiny: FrameStore, monkeypatch: pytest.MonkeyPatch, stage: str, moment: str
) -> None:
    for name, value in (("SEGMENTS", 3), ("KEEP_SECONDS", 0.0), ("KEEP_SHARE", float("inf"))):
        monkeypatch.setattr(ranking, name, value)
    work = {"pretrain": stages.pretrain, "infer": lambda job: stages.infer(job, "holdout")}[stage]
    if stage == "infer":
        stages.pretrain(job(tiny))
        stages.finetune(job(tiny))
    with monkeypatch.context() as patch:
        patch.setattr(Run, moment, lambda *_, **__: kill(patch))
        with pytest.raises(Killed):
            work(job(tiny))
    (killed,) = runs.find_runs("tiny", finished=False, stage=stage)
    resumed = work(job(tiny))
    assert (resumed.run_id, resumed.status) == (killed.run_id, "FINISHED")
    names = (metrics.SECONDS, metrics.CHOSEN_STEP, metrics.WINDOWS_PER_SECOND)
    results = {metric for metric in resumed.metrics if metric in names or metric.endswith("/map")}
    assert len(results) > 2
    assert {metric: history(resumed, metric) for metric in results} == {metric: [0] for metric in results}


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("reason", [KeyboardInterrupt(), SystemExit(143), RuntimeError("the loss is nan")])
def test_a_stage_that_was_stopped_or_failed_has_each_step_once(
    tiny: FrameStore, at_step: Callable, reason: BaseException
) -> None:
    def stop() -> None:
        raise reason

    at_step(6, stop)
    with pytest.raises(type(reason)):
        stages.pretrain(job(tiny))
    at_step(-1, lambda: None)
    (stopped,) = runs.find_runs("tiny", finished=False, stage="pretrain")
    assert stopped.status == ("FAILED" if isinstance(reason, RuntimeError) else "KILLED")
    resumed = stages.pretrain(job(tiny))
    assert (resumed.run_id, resumed.status, resumed.tags.get("error")) == (stopped.run_id, "FINISHED", None)
    assert history(resumed, "loss") == list(range(1, 13))


@pytest.mark.usefixtures("store")
def test_a_disk_that_is_full_while_an_artifact_is_written_fails_the_stage_with_a_sentence_and_it_resumes(
    tiny: FrameStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    def fill(*_: object, **__: object) -> None:
        raise shutil.Error([("here/weights", "there/weights", "[Errno 28] No space left on device")])

    with monkeypatch.context() as patch:
        patch.setattr(LocalArtifactRepository, "log_artifacts", fill)
        with pytest.raises(RuntimeError, match=r"there/weights cannot be written: .* No space left .*; free space"):
            stages.pretrain(job(tiny))
    (full,) = runs.find_runs("tiny", finished=False, stage="pretrain")
    assert full.status == "FAILED"
    assert "No space left" in full.tags["error"]
    resumed = stages.pretrain(job(tiny))
    assert (resumed.run_id, resumed.status) == (full.run_id, "FINISHED")
    assert history(resumed, "loss") == list(range(1, 13))
    assert (resumed.artifact("checkpoint") / "checkpoints.json").is_file()
    assert resumed.parent is not None
    assert runs.get_run(resumed.parent).tags["outdated"] == "finetune, merged"


@pytest.mark.usefixtures("store")
def test_the_seconds_of_interrupted_processes_add_up(
    tiny: FrameStore, monkeypatch: pytest.MonkeyPatch, at_step: Callable
) -> None:
    def interrupt() -> None:
        (box,) = outbox.outboxes()
        box.opening.seconds += 1000
        raise KeyboardInterrupt

    at_step(6, interrupt)
    with pytest.raises(KeyboardInterrupt):
        stages.pretrain(job(tiny))
    (box,) = outbox.outboxes()
    assert 0 < box.opening.seconds < 1000
    box.opening.seconds += 1000
    box.save()
    at_step(-1, lambda: None)
    assert 1000 < stages.pretrain(job(tiny)).metrics["seconds"] < 2000


@pytest.mark.usefixtures("store")
def test_a_forced_stage_is_a_new_run(tiny: FrameStore, at_step: Callable) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    at_step(6, interrupt)
    with pytest.raises(KeyboardInterrupt):
        stages.pretrain(job(tiny))
    at_step(-1, lambda: None)
    stages.pretrain(job(tiny, force=True))
    statuses = [run.status for run in runs.find_runs("tiny", finished=False, stage="pretrain")]
    assert sorted(statuses) == ["FINISHED", "KILLED"]
    assert list(outbox_folder().iterdir()) == []


@pytest.mark.usefixtures("store")
def test_a_run_that_was_deleted_is_not_resumed(tiny: FrameStore, at_step: Callable) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    at_step(6, interrupt)
    with pytest.raises(KeyboardInterrupt):
        stages.pretrain(job(tiny))
    for run in runs.find_runs("tiny", finished=False):
        client().delete_run(run.run_id)
    at_step(-1, lambda: None)
    assert stages.pretrain(job(tiny)).status == "FINISHED"


def check_whole(record: runs.Record, steps: int) -> None:
    """One finished run under one finished parent, each step once, with its checkpoint and its model."""
    assert record.status == "FINISHED"
    assert history(record, "loss") == list(range(1, steps + 1))
    assert (record.artifact("checkpoint") / "checkpoints.json").is_file()
    everything = runs.find_runs("tiny", finished=False)
    assert sorted((run.status, run.parent is None) for run in everything) == [("FINISHED", False), ("FINISHED", True)]
    assert record.parent is not None
    assert "pretrain/map" in runs.get_run(record.parent).metrics
    (model,) = client().search_logged_models([record.experiment_id])
    assert (model.source_run_id, model.status) == (record.run_id, "READY")
    load_model(f"models:/{model.model_id}")


@pytest.mark.slow
@pytest.mark.parametrize("gone_at", ["the start", "step 6"])
def test_training_goes_on_without_its_server_and_the_record_is_whole_when_it_is_back(
    tiny: FrameStore, server_process: Server, at_step: Callable, gone_at: str
) -> None:
    if gone_at == "step 6":
        server_process.start()
        at_step(6, server_process.stop)
    trained = stages.pretrain(job(tiny))
    assert trained.status == "FINISHED"
    assert (trained.artifact("checkpoint") / "checkpoints.json").is_file()
    assert [path.is_dir() for path in outbox_folder().glob("toy-kind-pretrain-*")] == [True]
    if gone_at == "the start":  # the next stage builds on it
        assert stages.pretrain(job(tiny)).key == trained.key
    server_process.start()
    sync()
    sync()
    found = stages.pretrain(job(tiny))
    assert found.key == trained.key
    check_whole(found, 12)
    assert not list(outbox_folder().glob("toy-*"))
    assert stages.finetune(job(tiny)).params["start_run"] == found.run_id


@pytest.mark.slow
def test_a_member_goes_on_through_its_stages_when_its_server_ends_between_two(
    tiny: FrameStore, server_process: Server
) -> None:
    server_process.start()
    pretrained = stages.pretrain(job(tiny))
    assert runs.kept_runs("tiny", stage="pretrain") == [pretrained]
    server_process.stop()
    tuned = stages.finetune(job(tiny))
    predicted = stages.infer(job(tiny), "holdout")
    server_process.start()
    sync()
    found = {run.tags["stage"]: run for run in runs.find_runs("tiny") if run.parent}
    assert [found["finetune"].key, found["infer"].key] == [tuned.key, predicted.key]
    assert found["finetune"].params["start_run"] == pretrained.run_id
    assert found["infer"].params["checkpoint_run"] == found["finetune"].run_id
    assert (found["infer"].artifact("predictions") / "shift0.parquet").is_file()
    assert stages.infer(job(tiny), "holdout").run_id == found["infer"].run_id
    parents = [run for run in runs.find_runs("tiny", finished=False) if run.parent is None]
    assert [(run.status, run.tags["member"]) for run in parents] == [("FINISHED", TOY.name)]


def test_a_server_that_accepts_and_never_answers_delays_a_stage_by_one_attempt(
    tiny: FrameStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(100)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        monkeypatch.setattr(store, "ROOT", tmp_path)
        assert stages.pretrain(job(tiny)).metrics["chosen_step"] == 12
        server.setblocking(False)
        connections = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                server.accept()[0].close()
                connections += 1
    assert connections == 1
