"""The boosted member in LightGBM, trained in blocks of rounds so that it can resume after an interruption."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from files.replacing import replacing
from tracking import metrics
from training.fit.loop import Report
from training.models.boosted import BoostedConfig


class BoostedEstimator:
    """A LightGBM booster on the features of (segment, class) pairs, stored with its state in `folder`.

    A block's seed depends on its number only, so a resumed booster grows the same trees. `booster.json` contains the
    number of rounds, the best number of rounds and its MAP, and the name of the file with the trees.
    """

    def __init__(
        self, config: BoostedConfig, names: list[str], folder: Path, seed: int, *, categorical: Sequence[str] = ()
    ):
        """`names` are those of the features, `categorical` of those whose values have no order."""
        self._config, self._names, self._folder, self._seed = config, names, folder, seed
        self._categorical = list(categorical)
        self.rounds, self.best, self.best_map = 0, 0, None
        self.booster = None
        self._load()

    def fit(
        self,
        pairs: np.ndarray,
        labels: np.ndarray,
        validate: Callable[[], float | None],
        report: Report,
        kept: Callable[[], None] = lambda: None,
    ) -> None:
        """Train up to `config.rounds` rounds on the features `pairs` (P, F), with `validate` after every block.

        `kept` is called when a block is on disk.
        """
        import lightgbm

        config = self._config
        while self.rounds < config.rounds:
            data = lightgbm.Dataset(
                pairs,
                labels,
                feature_name=self._names,
                categorical_feature=self._categorical,
                params={"verbosity": -1},
                free_raw_data=False,
            )
            params = {
                "objective": "binary",
                "learning_rate": config.learning_rate,
                "num_leaves": config.leaves,
                "min_data_in_leaf": config.min_data,
                "feature_fraction": config.feature_fraction,
                "bagging_fraction": config.bagging_fraction,
                "bagging_freq": 1,
                "seed": self._seed * 1000 + self.rounds // config.block,
                "deterministic": True,
                "force_row_wise": True,
                "verbosity": -1,
            }
            rounds = min(config.block, config.rounds - self.rounds)
            self.booster = lightgbm.train(params, data, rounds, init_model=self.booster, keep_training_booster=False)
            self.rounds += rounds
            score = validate()
            if score is None or self.best_map is None or score > self.best_map:
                self.best, self.best_map = self.rounds, score
            if score is not None:
                report({metrics.MAP: score}, self.rounds)
            self._save()
            kept()

    def predict(self, pairs: np.ndarray, rounds: int | None = None) -> np.ndarray:
        """Probabilities (P,) from the first `rounds` rounds, by default the best number of rounds."""
        assert self.booster is not None
        return np.asarray(self.booster.predict(pairs, num_iteration=rounds or self.best), dtype=np.float32)

    def importances(self) -> dict[str, float]:
        """Each feature's share of the total gain."""
        assert self.booster is not None
        gain = self.booster.feature_importance("gain", iteration=self.best)
        return dict(zip(self._names, (gain / max(gain.sum(), 1e-12)).tolist(), strict=True))

    def _save(self) -> None:
        assert self.booster is not None
        state = {"rounds": self.rounds, "best": self.best, "best_map": self.best_map}
        text = self.booster.model_to_string(num_iteration=-1)
        # The JSON names its file of trees and is written last: a process killed in between leaves a consistent state.
        trees = f"booster-{self.rounds}.txt"
        with replacing(self._folder / trees) as temporary:
            temporary.write_text(text)
        with replacing(self._folder / "booster.json") as temporary:
            temporary.write_text(json.dumps({**state, "trees": trees}))
        for other in self._folder.glob("booster-*.txt"):
            if other.name != trees:
                other.unlink()

    def _load(self) -> None:
        import lightgbm

        path = self._folder / "booster.json"
        if path.is_file():
            state = json.loads(path.read_text())
            self.rounds, self.best, self.best_map = (state[key] for key in ("rounds", "best", "best_map"))
            self.booster = lightgbm.Booster(model_str=(self._folder / state["trees"]).read_text())
            if self.booster.feature_name() != self._names:
                raise ValueError(
                    f"the trees of {self._folder} have other features than this version of the member; fine-tune it "
                    "again with --force"
                )
