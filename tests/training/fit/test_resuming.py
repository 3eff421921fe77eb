"""A fit that is killed at any step and started again ends with the very same bits."""

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest

from tests.training.fit import fitted
from tests.training.fit.fitted import EVERY, STEPS, fit_booster, fit_member
from videos.store import FrameStore, open_frames

ROOT = Path(__file__).resolve().parents[3]
NEVER = -1


def process(what: str, store: Path, folder: Path, killed_at: int) -> int:
    """The exit code of a process that fits, -SIGKILL if it was killed."""
    command = [sys.executable, "-m", "tests.training.fit.fitted", what, str(store), str(folder), str(killed_at)]
    return subprocess.run(command, cwd=ROOT, timeout=120).returncode


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The checkpoints of a member's fit that nothing stopped."""

    @cache
    def fitted_whole(member: str) -> Path:
        folder = tmp_path_factory.mktemp("whole") / member
        fit_member(member, open_frames(tiny_folder), folder)
        return folder

    return fitted_whole


@pytest.mark.parametrize(
    ("member", "killed_at"),
    [("bert-l2h12-mean", 1), ("bert-l2h12-mean", 5), pytest.param("gated-netvlad", 5, marks=pytest.mark.slow)],
)
def test_a_killed_fit_ends_with_the_same_bits(
    tiny: FrameStore, tmp_path: Path, member: str, killed_at: int, whole: Callable[[str], Path]
) -> None:
    stopped = tmp_path / "stopped"
    assert process(member, tiny.folder, stopped, killed_at) == -signal.SIGKILL
    if killed_at > EVERY:  # the first checkpoint is written while training continues
        assert content(stopped)
    assert process(member, tiny.folder, stopped, NEVER) == 0
    assert f"step-{STEPS:08d}/moments.safetensors" in content(whole(member))
    assert content(stopped) == content(whole(member))


class Stopped(Exception):
    pass


def stop() -> None:
    raise Stopped


@pytest.mark.parametrize(
    ("member", "steps"),
    [
        ("bert-l2h12-mean", range(1, STEPS + 1)),
        pytest.param("gated-netvlad", (1, STEPS), marks=pytest.mark.slow),  # Keras traces each fit anew
    ],
)
def test_stopped_at_any_step_it_ends_with_the_same_bits(
    tiny: FrameStore,
    tmp_path: Path,
    member: str,
    steps: Sequence[int],
    whole: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fitted, "die", stop)
    for step in steps:
        stopped = tmp_path / str(step)
        with pytest.raises(Stopped):
            fit_member(member, tiny, stopped, killed_at=step)
        fit_member(member, tiny, stopped)
        assert content(stopped) == content(whole(member)), step


def test_a_booster_stopped_in_any_block_ends_with_the_same_trees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitted, "die", stop)
    fit_booster(tmp_path / "whole")
    for block in range(1, 6):
        stopped = tmp_path / str(block)
        with pytest.raises(Stopped):
            fit_booster(stopped, killed_at=block)
        fit_booster(stopped)
        assert content(stopped) == content(tmp_path / "whole"), block


def test_a_killed_booster_ends_with_the_same_trees(tmp_path: Path) -> None:
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    assert process("boosted", tmp_path, stopped, killed_at=3) == -signal.SIGKILL
    assert [path.name for path in stopped.glob("*.txt")] == ["booster-8.txt"]  # two blocks of four rounds
    resumed = fit_booster(stopped)
    assert resumed.rounds == 20
    fit_booster(whole)
    assert content(stopped) == content(whole)
