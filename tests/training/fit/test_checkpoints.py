"""The last checkpoint and the best, and no more."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from training.fit.checkpoints import Checkpoints, Which

WEIGHTS = {"w": np.arange(3, dtype=np.float32)}


def write(checkpoints: Checkpoints, step: int, score: float | None) -> None:
    checkpoints.write("bert", step, {"w": WEIGHTS["w"] + step}, {"m": WEIGHTS["w"] - step}, score)


def files(folder: Path) -> dict[int, str]:
    """Per step the first letters of its files: w, m."""
    return {int(step.name[5:]): "".join(sorted(f.name[0] for f in step.iterdir())) for step in folder.glob("step-*")}


def test_the_best_and_the_last_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step, score in [(100, 0.3), (120, 0.5), (140, 0.4), (160, 0.45)]:
        write(checkpoints, step, score)
    assert files(tmp_path) == {120: "w", 140: "mw", 160: "mw"}
    step, weights, moments = checkpoints.read("best", "bert")
    assert (step, weights["w"].tolist(), moments) == (120, [120, 121, 122], {})
    step, weights, moments = checkpoints.read("last", "bert")
    assert step == 160
    assert weights["w"].tolist() == [160, 161, 162]
    assert moments["m"].tolist() == [-160, -159, -158]
    assert checkpoints.state is not None
    assert checkpoints.state.begin == 100


def test_equal_scores_keep_the_earlier(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    write(checkpoints, 1, 0.5)
    write(checkpoints, 2, 0.5)
    assert checkpoints.read("best", "bert")[0] == 1


def test_without_a_holdout_the_last_is_best(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    write(checkpoints, 1, None)
    write(checkpoints, 2, None)
    assert checkpoints.read("best", "bert")[0] == 2


def test_a_half_written_checkpoint_counts_for_nothing(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    write(checkpoints, 1, 0.5)
    (tmp_path / "step-00000002").mkdir()  # killed before checkpoints.json was replaced
    assert checkpoints.read("last", "bert")[0] == 1
    write(checkpoints, 2, 0.6)
    assert checkpoints.read("last", "bert")[0] == 2


def test_another_members_weights_are_refused(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    write(checkpoints, 1, 0.5)
    with pytest.raises(ValueError, match="weights of bert, not of netvlad"):
        checkpoints.read("last", "netvlad")


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--force"):
        Checkpoints(tmp_path).read("last", "bert")


def damaged(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))  # as after a power cut without a flush


def test_the_previous_checkpoint_is_kept_until_the_next(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step, score in ((1, 0.9), (2, 0.5), (3, 0.6), (4, 0.7)):
        write(checkpoints, step, score)
    assert files(tmp_path) == {1: "w", 3: "mw", 4: "mw"}


@pytest.mark.parametrize(
    ("which", "moments", "kept"), [("last", True, {4: "mw"}), ("last", False, {4: "w"}), ("best", False, {2: "w"})]
)
def test_a_finished_stage_keeps_only_what_is_read_later(
    tmp_path: Path, which: Which, moments: bool, kept: dict[int, str]
) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step, score in ((1, 0.5), (2, 0.9), (3, 0.6), (4, 0.7)):
        write(checkpoints, step, score)
    for _ in range(2):  # a stage that was killed after it finishes again
        checkpoints.finish(which, moments)
        assert files(tmp_path) == kept
        state = checkpoints.state
        assert state is not None
        assert (state.begin, state.last, state.best, state.previous) == (1, 4, 2, None)
    if moments or which == "best":
        assert checkpoints.read(which, "bert")[0] == next(iter(kept))


@pytest.mark.parametrize("name", ["weights.safetensors", "moments.safetensors"])
def test_a_last_checkpoint_that_cannot_be_read_is_named_and_the_previous_is_used(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        write(checkpoints, step, 0.1 * step)
    damaged(tmp_path / "step-00000003" / name)
    assert checkpoints.read("last", "bert")[0] == 2
    assert f"step-00000003/{name} cannot be read: " in caplog.text
    assert "the previous checkpoint, step 2, is used" in caplog.text
    if name == "weights.safetensors":
        with pytest.raises(ValueError, match=f"step-00000003/{name} cannot be read: .*the stage again with --force"):
            checkpoints.read("best", "bert")
    write(checkpoints, 3, 0.3)  # trained once more
    assert [checkpoints.read(which, "bert")[0] for which in ("last", "best")] == [3, 3]


def test_files_that_cannot_be_read_are_named_with_the_remedy(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    write(checkpoints, 1, None)
    (tmp_path / "step-00000001/moments.safetensors").unlink()
    with pytest.raises(ValueError, match=r"step-00000001/moments.safetensors cannot be read: .*--force"):
        checkpoints.read("last", "bert")
    damaged(tmp_path / "checkpoints.json")
    with pytest.raises(ValueError, match=r"checkpoints.json cannot be read: .*--force"):
        checkpoints.read("last", "bert")


def test_a_checkpoint_is_flushed_before_the_one_before_the_previous_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path)
    write(checkpoints, 1, 0.1)
    write(checkpoints, 2, 0.2)
    events: list[str] = []
    fsync, rmtree = os.fsync, shutil.rmtree

    def flushing(descriptor: int) -> None:
        events.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def removing(path: Path, ignore_errors: bool = False) -> None:
        events.append(f"removed {Path(path).name}")
        rmtree(path, ignore_errors)

    monkeypatch.setattr(os, "fsync", flushing)
    monkeypatch.setattr(shutil, "rmtree", removing)
    write(checkpoints, 3, 0.3)
    flushed = events[: events.index("removed step-00000001")]
    expected = {"weights.safetensors", "moments.safetensors", "step-00000003", "checkpoints.json", tmp_path.name}
    assert expected <= set(flushed)
