"""Averaged weights are those of the checkpoints, are what is validated and kept, and leave training as it is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.conftest import briefly
from tests.training.fit.together import MEMBERS
from training.fit.averaging import averaged, joined, split
from training.fit.checkpoints import Checkpoints
from training.fit.loop import GradientEstimator, fit
from training.job import Job
from training.member import Member, Schedule
from training.members import member_of
from training.windows.examples import VideoExamples
from videos.store import FrameStore

Arrays = dict[str, np.ndarray]
STEPS, EVERY = 7, 2  # checkpoints at steps 0, 2, 4, 6 and 7
PLAIN = Schedule(STEPS, EVERY, batch=16, learning_rate=1e-3)
AVERAGED = replace(PLAIN, average=3)
MIX = MEMBERS[1]  # small, and with batch statistics


def test_a_running_mean_by_hand() -> None:
    values, mean, kept = [4.0, 8.0, 3.0, 9.0], {}, []
    for number, value in enumerate(values, start=1):
        mean = averaged(mean, {"w": np.array([value], np.float32), "n": np.array([number])}, number, window=3)
        kept.append((mean["w"].item(), mean["n"].item()))
    assert kept == [(4, 1), (6, 2), (pytest.approx(5), 3), (pytest.approx(5 + 4 / 3), 4)]
    assert averaged({"w": np.ones(1)}, {"w": np.full(1, 3.0)}, 7, window=1)["w"] == 3


def test_trained_weights_are_told_from_moments() -> None:
    weights, moments = {"a": np.zeros(1), "b": np.ones(1)}, {"a/exp_avg": np.ones(2)}
    assert split(joined(weights, moments)) == (weights, moments)
    assert split(moments) == ({}, moments)


def trained(store: FrameStore, member: Member, schedule: Schedule, folder: Path, stop_at: int | None = None):
    """The checkpoints of a fit, and the weights that were validated."""
    estimator, validated = Job(lineup="paper", member=member, store=store).estimator(), []
    step = estimator.train_step

    def stopping(batch, rate: float):
        if estimator.step == stop_at:
            raise KeyboardInterrupt
        return step(batch, rate)

    def validate() -> None:
        validated.append(estimator.weights())

    estimator.train_step = stopping
    checkpoints = Checkpoints(folder)
    settings = {"member": member, "schedule": schedule, "checkpoints": checkpoints, "validate": validate}
    fit(estimator, VideoExamples(store, member.sampler), **settings)
    return checkpoints, validated


def same(one: Arrays, other: Arrays) -> bool:
    return {name: array.tobytes() for name, array in one.items()} == {n: a.tobytes() for n, a in other.items()}


@pytest.mark.parametrize(
    "member",
    [MIX, pytest.param(briefly(member_of("paper", "gated-netvlad")), marks=pytest.mark.slow)],
    ids=lambda member: member.name,
)
def test_what_is_kept_is_the_mean_and_training_is_unchanged(tiny: FrameStore, member: Member, tmp_path: Path) -> None:
    plain, at = trained(tiny, member, PLAIN, tmp_path / "plain")
    kept, validated = trained(tiny, member, AVERAGED, tmp_path / "averaged")
    _, weights, moments = plain.read("last", member.name)
    _, mean, stored = kept.read("last", member.name)
    own_weights, own_moments = split(stored)
    assert same(own_weights, weights)
    assert same(own_moments, moments)
    assert same(mean, validated[-1])
    assert not same(mean, weights)
    expected: Arrays = {}
    for number, arrays in enumerate(at[1:], start=1):  # the initial weights are not in the mean
        expected = averaged(expected, arrays, number, 3)
    assert len(validated) == 5
    assert same(validated[0], at[0])
    assert same(mean, expected)
    for name in weights:
        if np.issubdtype(weights[name].dtype, np.floating):
            by_hand = np.mean([arrays[name] for arrays in at[1:4]], axis=0) * 2 / 3 + at[4][name] / 3
            np.testing.assert_allclose(mean[name], by_hand, atol=1e-5)  # batch statistics too


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_stopped_at_any_step_it_ends_with_the_same_averages(tiny: FrameStore, tmp_path: Path) -> None:
    trained(tiny, MIX, AVERAGED, tmp_path / "whole")
    for stop_at in (1, 3, 6):
        stopped = tmp_path / str(stop_at)
        with pytest.raises(KeyboardInterrupt):
            trained(tiny, MIX, AVERAGED, stopped, stop_at)
        trained(tiny, MIX, AVERAGED, stopped)
        assert content(stopped) == content(tmp_path / "whole"), stop_at


def test_a_later_stage_starts_from_the_averages(tiny: FrameStore, tmp_path: Path) -> None:
    kept, validated = trained(tiny, MIX, AVERAGED, tmp_path)
    estimator: GradientEstimator = Job(lineup="paper", member=MIX, store=tiny).estimator()
    step, mean, stored = kept.read("last", MIX.name)
    estimator.restore(step, mean, stored)
    assert same(estimator.weights(), validated[-1])
    assert same(estimator.moments(), split(stored)[1])
