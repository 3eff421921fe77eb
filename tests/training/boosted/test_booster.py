"""Which rounds of a booster count."""

from pathlib import Path

import lightgbm
import numpy as np
import pytest

from training.boosted.booster import BoostedEstimator
from training.models.boosted import BoostedConfig

CONFIG = BoostedConfig(bases=("base",), rounds=20, block=4, min_data=5)


def pairs() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)


@pytest.mark.parametrize(("maps", "best"), [([0.1, 0.5, 0.4, 0.5, 0.2], 8), ([None] * 5, 20)])
def test_the_best_rounds_alone_predict(tmp_path: Path, maps: list[float | None], best: int) -> None:
    """The first of the highest MAPs; without a holdout the last."""
    rows, scores = pairs(), iter(maps)
    estimator = BoostedEstimator(CONFIG, ["a", "b", "c"], tmp_path, seed=3)
    estimator.fit(rows, (rows[:, 1] > 0).astype(np.float32), lambda: next(scores), lambda *_: None)
    assert (estimator.best, estimator.rounds) == (best, 20)
    found = estimator.predict(rows)
    np.testing.assert_array_equal(found, estimator.predict(rows, best))
    assert np.allclose(found, estimator.predict(rows, 20)) == (best == 20)
    again = BoostedEstimator(CONFIG, ["a", "b", "c"], tmp_path, seed=3)
    np.testing.assert_array_equal(again.predict(rows), found)


def test_each_block_grows_from_a_seed_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were it the same one, every block would draw the same rows and features; another member's are others again."""
    train, seeds = lightgbm.train, []

    def noting(params: dict, *rest, **named) -> lightgbm.Booster:
        seeds.append(params["seed"])
        return train(params, *rest, **named)

    monkeypatch.setattr(lightgbm, "train", noting)
    rows = pairs()
    for seed in (3, 4):
        estimator = BoostedEstimator(CONFIG, ["a", "b", "c"], tmp_path / str(seed), seed)
        estimator.fit(rows, (rows[:, 1] > 0).astype(np.float32), lambda: None, lambda *_: None)
    assert seeds == [3000, 3001, 3002, 3003, 3004, 4000, 4001, 4002, 4003, 4004]


def test_trees_with_other_features_are_not_used(tmp_path: Path) -> None:
    rows = pairs()
    estimator = BoostedEstimator(CONFIG, ["a", "b", "c"], tmp_path, seed=3)
    estimator.fit(rows, (rows[:, 1] > 0).astype(np.float32), lambda: None, lambda *_: None)
    with pytest.raises(ValueError, match=r"other features .* fine-tune it again with --force"):
        BoostedEstimator(CONFIG, ["a", "b"], tmp_path, seed=3)


@pytest.mark.parametrize(("categorical", "decision"), [((), "<="), (("c",), "==")])
def test_a_categorical_feature_is_split_by_its_values(
    tmp_path: Path, categorical: tuple[str, ...], decision: str
) -> None:
    rows = pairs()
    rows[:, 2] = np.random.default_rng(1).integers(0, 5, len(rows))
    estimator = BoostedEstimator(CONFIG, ["a", "b", "c"], tmp_path, seed=3, categorical=categorical)
    estimator.fit(rows, (rows[:, 2] % 2).astype(np.float32), lambda: None, lambda *_: None)
    assert estimator.booster is not None
    nodes = estimator.booster.trees_to_dataframe()
    assert set(nodes["decision_type"][nodes["split_feature"] == "c"]) == {decision}
