"""The training loop of all gradient frameworks and of both training stages."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Protocol, Self, SupportsFloat

import numpy as np

from tracking import metrics
from training.fit import processes
from training.fit.averaging import averaged, joined, split
from training.fit.checkpoints import Checkpoints
from training.member import Member, Schedule
from training.windows.examples import Batch, Examples, batch_rows
from training.windows.segments import Windows

log = logging.getLogger(__name__)

CLIP = 1.0  # largest L2 norm of a gradient tensor
REPORT_EVERY = 20  # steps between two points of the loss curve
Predictor = Callable[[Windows], np.ndarray]  # scores (B, columns) of a block of windows
Report = Callable[[Mapping[str, float], int], None]  # metrics at a step


class GradientEstimator(Protocol):
    """A member in its framework; `step` counts optimiser steps over both stages."""

    step: int

    def prepared(self, batch: Batch) -> Batch:
        """The batch in the memory that the device copies from fastest; called by the thread that reads batches."""
        ...

    def train_step(self, batch: Batch, rate: float) -> SupportsFloat:
        """One optimiser step at a learning rate; returns the loss. Deterministic given state and batch."""
        ...

    def predictor(self, columns: np.ndarray) -> Predictor:
        """A predictor with the current weights, restricted to the classes `columns` (ids)."""
        ...

    def servable(self) -> object:
        """The framework's model to log: features (B, T, D) of windows without a shift -> probabilities (B, C).

        Rows of zeros are the frames that a short last segment lacks. Frames count as they do in prediction.
        """
        ...

    def weights(self) -> dict[str, np.ndarray]:
        """Copies, which the next step leaves as they are: they are written while training continues."""
        ...

    def moments(self) -> dict[str, np.ndarray]:
        """Copies, as of the weights."""
        ...

    def restore(self, step: int, weights: dict[str, np.ndarray], moments: dict[str, np.ndarray]) -> None:
        """Take over a state; without `moments` it is one to predict with, or to begin training from."""
        ...


def fit(
    estimator: GradientEstimator,
    examples: Examples,
    *,
    member: Member,
    schedule: Schedule,
    checkpoints: Checkpoints,
    validate: Callable[[], float | None] = lambda: None,
    report: Report = lambda values, step: None,
    kept: Callable[[], None] = lambda: None,
) -> None:
    """Train for `schedule.steps` steps from the state of `estimator`, or resume from the last of `checkpoints`.

    Reports loss, learning rate and examples per second, and with every checkpoint the MAP that `validate` returns.
    Checkpoints are written while training continues; `kept` is called when one is on disk, and what is reported of the
    steps after it is held back until then. Nothing is done if the stage has been finished (`Checkpoints.finish`).

    With `schedule.average` above 1, the weights that are validated and kept are those of `averaging.averaged`.

    Under torchrun only process 0 validates, reports and writes checkpoints.

    Raises:
        RuntimeError: a loss or a weight is not finite, with the step; no checkpoint is written after that step.
        OSError: a checkpoint could not be written; raised at the next step or checkpoint.
    """
    state = checkpoints.state
    if state is not None and state.last == state.begin + schedule.steps and state.previous is None:
        return
    with _Writer(report, kept) as writer:
        _fit(estimator, examples, member, schedule, checkpoints, validate, writer)


def _fit(
    estimator: GradientEstimator,
    examples: Examples,
    member: Member,
    schedule: Schedule,
    checkpoints: Checkpoints,
    validate: Callable[[], float | None],
    writer: "_Writer",
) -> None:
    def checkpoint() -> None:
        nonlocal mean
        writer.wait()  # the copies of one checkpoint are in memory, not of two
        weights, moments, step = estimator.weights(), estimator.moments(), estimator.step
        for name, array in weights.items():  # a step's loss is that of the weights before it
            if not np.isfinite(array).all():
                raise RuntimeError(f"{member.name}: {name} is not finite at step {step}; lower the learning rate")
        if schedule.average == 1:
            score = validate()
        else:
            number = max(math.ceil((step - begin) / schedule.evaluate_every), 1)
            mean = averaged(mean, weights, number, schedule.average)
            estimator.restore(step, mean, {})
            score = validate()
            estimator.restore(step, weights, moments)
            weights, moments = mean, joined(weights, moments)
        if score is not None:
            writer.report({metrics.MAP: score}, step)
        writer.start(partial(checkpoints.write, member.name, step, weights, moments, score))

    state, is_first = checkpoints.state, processes.rank() == 0
    begin = estimator.step if state is None else state.begin
    mean: dict[str, np.ndarray] = {}
    if state is not None:
        step, weights, moments = checkpoints.read("last", member.name)
        if schedule.average > 1:
            mean, (weights, moments) = weights, split(moments)
        estimator.restore(step, weights, moments)
    elif is_first:
        checkpoint()
    end = begin + schedule.steps
    since, examples_seen = time.perf_counter(), 0
    unread: list[SupportsFloat] = []  # device losses: reading one waits for the device, so they are read together
    for batch in _batches(estimator, examples, schedule.batch, range(estimator.step, end), seed=member.seed):
        unread.append(estimator.train_step(batch, schedule.rate(estimator.step)))
        examples_seen += schedule.batch
        writer.poll()
        done = estimator.step - begin
        is_checkpoint = done % schedule.evaluate_every == 0 or done == schedule.steps
        is_point = done % REPORT_EVERY == 0 or done == schedule.steps
        if is_checkpoint or is_point:
            loss = _last_finite(unread, member.name, estimator.step)
            unread = []
        if is_point:
            speed = examples_seen / (time.perf_counter() - since)
            rate = schedule.rate(estimator.step - 1)
            if is_first:
                point = {metrics.LOSS: loss, metrics.LEARNING_RATE: rate, metrics.EXAMPLES_PER_SECOND: speed}
                writer.report(point, estimator.step)
            since, examples_seen = time.perf_counter(), 0
        if is_first and is_checkpoint:
            paused = time.perf_counter()
            checkpoint()
            since += time.perf_counter() - paused


class _Writer:
    """Writes checkpoints in a thread. Reports about later steps wait until the checkpoint is on disk."""

    def __init__(self, report: Report, kept: Callable[[], None]):
        self._report, self._kept = report, kept
        self._thread = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        self._later: list[tuple[Mapping[str, float], int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        if error is None:
            self.wait()
        elif self._writing is not None and (failure := self._writing.exception()) is not None:
            log.error("the checkpoint before this error could not be written: %s", failure)

    def start(self, write: Callable[[], None]) -> None:
        """Call `write` in the thread, after what it is writing."""
        self.wait()
        self._writing = self._thread.submit(write)

    def report(self, values: Mapping[str, float], step: int) -> None:
        if self._writing is None:
            self._report(values, step)
        else:
            self._later.append((values, step))

    def poll(self) -> None:
        """`wait` if it does not take time."""
        if self._writing is not None and self._writing.done():
            self.wait()

    def wait(self) -> None:
        """Return when nothing is being written; raises the error of a checkpoint that could not be written."""
        if self._writing is None:
            return
        writing, self._writing = self._writing, None
        writing.result()
        self._kept()
        later, self._later = self._later, []
        for values, step in later:
            self._report(values, step)


def _last_finite(losses: Sequence[SupportsFloat], member: str, step: int) -> float:
    """The last of the losses of the steps up to `step`; RuntimeError with the first step whose loss is not finite."""
    values = [float(loss) for loss in losses]
    for number, value in enumerate(values, step - len(values) + 1):
        if not math.isfinite(value):
            raise RuntimeError(f"{member}: the loss is {value} at step {number}; lower the learning rate")
    return values[-1]


def _batches(
    estimator: GradientEstimator, examples: Examples, size: int, steps: range, *, seed: int
) -> Iterator[Batch]:
    """The batches of `steps`, each a function of seed and step only; a thread prepares the next one."""

    def make(step: int) -> Batch:
        rows = batch_rows(step, size, len(examples), seed)
        return estimator.prepared(examples.batch(rows, np.random.default_rng([seed, step, 1]), processes.share(size)))

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(make, steps.start) if steps else None
        for step in steps:
            assert ahead is not None
            batch = ahead.result()
            ahead = pool.submit(make, step + 1) if step + 1 < steps.stop else None
            yield batch
