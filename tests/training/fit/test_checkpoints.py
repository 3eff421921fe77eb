"""The last checkpoint and the best, and no more."""

from pathlib import Path

import numpy as np
import pytest

from training.fit.checkpoints import Checkpoints

WEIGHTS = {"w": np.arange(3, dtype=np.float32)}


def write(checkpoints: Checkpoints, step: int, score: float | None) -> None:
    checkpoints.write("bert", step, {"w": WEIGHTS["w"] + step}, {}, score)


def test_the_best_and_the_last_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step, score in [(100, 0.3), (120, 0.5), (140, 0.4), (160, 0.45)]:
        write(checkpoints, step, score)
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-00000120", "step-00000160"]
    assert checkpoints.read("best", "bert")[0] == 120
    step, weights, moments = checkpoints.read("last", "bert")
    assert step == 160
    assert weights["w"].tolist() == [160, 161, 162]
    assert moments == {}
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
