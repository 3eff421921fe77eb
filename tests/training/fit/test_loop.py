"""The loop itself, on an estimator that does what it is told: which losses are read when, and what is written."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.fit import loop
from training.fit.checkpoints import Checkpoints
from training.fit.loop import fit
from training.member import Schedule
from training.members import member_of
from training.windows.clips import StoredFrames
from training.windows.examples import ALL, Batch

MEMBER = member_of("paper", "bert-l2h12-mean")


class NoExamples:
    def __len__(self) -> int:
        return 8

    def batch(self, rows: np.ndarray, rng: np.random.Generator, part: slice = ALL) -> Batch:
        return Batch(StoredFrames(np.zeros((len(rows), 1, 1))), np.zeros((len(rows), 1)))


class Scripted:
    """Its loss at a step is `losses[step]`, 0.5 by default, its only weight after it `weight[step]`, 1 by default."""

    def __init__(self, losses: dict[int, float] | None = None, weight: dict[int, float] | None = None):
        self.step, self._losses, self._weight = 0, losses or {}, weight or {}
        self.read_at: list[int] = []

    def prepared(self, batch: Batch) -> Batch:
        return batch

    def train_step(self, batch: Batch, rate: float):
        self.step += 1
        return Loss(self._losses.get(self.step, 0.5), lambda: self.read_at.append(self.step))

    def predictor(self, columns: np.ndarray):
        raise NotImplementedError

    def servable(self):
        raise NotImplementedError

    def weights(self) -> dict[str, np.ndarray]:
        return {"layer.weight": np.array([1.0, self._weight.get(self.step, 1.0)], dtype=np.float32)}

    def moments(self) -> dict[str, np.ndarray]:
        return {}

    def restore(self, step: int, weights: dict[str, np.ndarray], moments: dict[str, np.ndarray]) -> None:
        self.step = step


class Loss:
    """A number that tells when it is read, which would make the processor wait for the device."""

    def __init__(self, value: float, read: Callable[[], None]):
        self._value, self._read = value, read

    def __float__(self) -> float:
        self._read()
        return self._value


def run(estimator: Scripted, folder: Path, steps: int = 42, every: int = 7, validate=lambda: None, report=None) -> None:
    schedule = Schedule(steps, every, batch=4)
    settings = {"member": MEMBER, "schedule": schedule, "checkpoints": Checkpoints(folder)}
    fit(estimator, NoExamples(), **settings, validate=validate, report=report or (lambda *_: None))


def last(folder: Path) -> int:
    state = Checkpoints(folder).state
    assert state is not None
    return state.last


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("step", "kept"), [(5, 0), (7, 0), (8, 7), (13, 7), (29, 28), (42, 35)])
def test_a_loss_that_is_no_number_ends_the_fit_before_the_next_checkpoint(
    tmp_path: Path, step: int, kept: int, value: float
) -> None:
    """Also where the losses after it are numbers again, and between two points of the loss curve."""
    with pytest.raises(RuntimeError, match=rf"the loss is {value} at step {step}; lower the learning rate"):
        run(Scripted(losses={step: value}), tmp_path)
    assert last(tmp_path) == kept


def test_weights_that_are_no_numbers_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"layer\.weight is not finite at step 14"):
        run(Scripted(weight={14: np.nan}), tmp_path)
    assert last(tmp_path) == 7


def test_batches_are_prepared_by_the_thread_that_reads_them(tmp_path: Path) -> None:
    """The training thread would keep the device waiting."""
    threads, learnt = set(), []

    class Prepared(Scripted):
        def prepared(self, batch: Batch) -> Batch:
            threads.add(threading.current_thread())
            return batch.map(lambda array: array + 1)

        def train_step(self, batch: Batch, rate: float):
            learnt.append((batch.frames.values.min(), batch.labels.min(), batch.mask, batch.frame_weights))
            return super().train_step(batch, rate)

    run(Prepared(), tmp_path, steps=3)
    assert threading.main_thread() not in threads
    assert learnt == [(1, 1, None, None)] * 3


def test_losses_are_read_at_points_and_checkpoints_alone(tmp_path: Path) -> None:
    estimator = Scripted()
    run(estimator, tmp_path)
    assert sorted(set(estimator.read_at)) == [7, 14, 20, 21, 28, 35, 40, 42]
    assert len(estimator.read_at) == 42  # each loss once
    assert last(tmp_path) == 42


def test_speed_counts_the_steps_and_not_the_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, points = [0.0], []

    class Timed(Scripted):
        def train_step(self, batch: Batch, rate: float):
            clock[0] += 2
            return super().train_step(batch, rate)

    def validate() -> float:
        clock[0] += 100
        return 0.5

    def report(values, step: int) -> None:
        if "loss" in values:
            points.append((step, values["examples_per_second"]))

    monkeypatch.setattr(loop.time, "perf_counter", lambda: clock[0])
    run(Timed(), tmp_path, validate=validate, report=report)
    assert points == [(20, 2.0), (40, 2.0), (42, 2.0)]  # batches of 4 in 2 seconds


class Slow(Checkpoints):
    """Writes the checkpoint of a step when `go` is set."""

    def __init__(self, folder: Path, go: threading.Event):
        super().__init__(folder)
        self._go, self.begun = go, 0

    def write(self, *arguments) -> None:
        self.begun += 1
        if self.begun > 1:
            assert self._go.wait(10)
        super().write(*arguments)


def test_training_continues_while_a_checkpoint_is_written_and_later_points_wait_for_it(tmp_path: Path) -> None:
    go, events = threading.Event(), []
    checkpoints = Slow(tmp_path, go)

    class Stepping(Scripted):
        def train_step(self, batch: Batch, rate: float):
            if self.step == 55:  # 15 steps after a checkpoint that is not written yet, a point of the curve between
                assert checkpoints.state is not None
                assert checkpoints.state.last == 0
                assert events[-1] == ("point", 40)
                go.set()
            return super().train_step(batch, rate)

        def weights(self) -> dict[str, np.ndarray]:
            return {"layer.weight": np.full(3, self.step, dtype=np.float32)}

    def report(values, step: int) -> None:
        events.append(("point", step))

    def kept() -> None:
        assert checkpoints.state is not None
        events.append(("kept", checkpoints.state.last))

    schedule = Schedule(80, 40, batch=4)
    settings = {"member": MEMBER, "schedule": schedule, "checkpoints": checkpoints}
    fit(Stepping(), NoExamples(), **settings, report=report, kept=kept)
    assert events[-6:] == [("point", 20), ("point", 40), ("kept", 40), ("point", 60), ("point", 80), ("kept", 80)]
    assert checkpoints.read("last", MEMBER.name)[1]["layer.weight"].tolist() == [80, 80, 80]


def test_a_checkpoint_that_cannot_be_written_ends_the_fit(tmp_path: Path) -> None:
    class Full(Checkpoints):
        def write(self, member, step, *arguments) -> None:
            if step == 14:
                raise OSError("No space left on device")
            super().write(member, step, *arguments)

    estimator = Scripted()
    schedule = Schedule(42, 7, batch=4)
    with pytest.raises(OSError, match="No space left"):
        fit(estimator, NoExamples(), member=MEMBER, schedule=schedule, checkpoints=Full(tmp_path))
    assert 14 <= estimator.step <= 21
    assert last(tmp_path) == 7


def test_a_failed_write_is_named_if_another_error_ends_the_fit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(Checkpoints):
        def write(self, member, step, *arguments) -> None:
            if step == 7:
                stopped.wait(10)
                raise OSError("No space left on device")
            super().write(member, step, *arguments)

    stopped = threading.Event()

    class Stopping(Scripted):
        def train_step(self, batch: Batch, rate: float):
            if self.step == 9:
                stopped.set()
                raise KeyboardInterrupt
            return super().train_step(batch, rate)

    with pytest.raises(KeyboardInterrupt):
        fit(Stopping(), NoExamples(), member=MEMBER, schedule=Schedule(42, 7, batch=4), checkpoints=Full(tmp_path))
    assert "could not be written: No space left on device" in caplog.text


def test_a_finished_stage_is_not_trained_again(tmp_path: Path) -> None:
    run(Scripted(), tmp_path)
    Checkpoints(tmp_path).finish("best", moments=False)
    estimator = Scripted()
    run(estimator, tmp_path)
    assert estimator.step == 0
