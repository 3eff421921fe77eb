"""The alias `best`: it moves to a version that is better by more than chance explains, and never within a tie."""

import numpy as np
import polars as pl
import pytest

from scoring.lists.ranked import Submission
from scoring.lists.ranking import rank_scores
from scoring.tracked import ensemble_model
from scoring.tracked.ensemble_model import settle_best
from tests.scoring.generated import judgments_of
from tracking.registry import Version
from videos.judgments import Judgments

RNG = np.random.default_rng(0)
SEGMENTS = pl.Series("segment_id", [f"v{i:02}:{5 * j}" for i in range(40) for j in range(3)]).sort()
TRUTH = RNG.normal(size=(len(SEGMENTS), 3))
NOISE = RNG.normal(size=TRUTH.shape)
JUDGMENTS = Judgments(
    judgments_of({(c, segment): int(TRUTH[i, c] > 0.5) for c in range(3) for i, segment in enumerate(SEGMENTS)})
)


def lists(noise: float) -> Submission:
    return rank_scores((TRUTH + noise * NOISE).astype(np.float32), [0, 1, 2], SEGMENTS)


@pytest.mark.parametrize(
    ("own", "best", "data", "moves"),
    [
        (0.1, 3.0, "a", True),
        (3.0, 0.1, "a", False),  # worse
        (1.0, 1.0, "a", False),  # equal
        (1.0, 1.01, "a", False),  # a tie
        (0.1, 3.0, "b", False),  # of other data: they cannot be compared
        (0.1, None, "a", False),  # its predictions are gone
    ],
)
def test_best_moves_only_to_what_is_better(
    monkeypatch: pytest.MonkeyPatch, own: float, best: float | None, data: str, moves: bool
) -> None:
    moved, old = [], Version("m", "1", "r1", {"data_digest": data})
    monkeypatch.setattr(ensemble_model, "best_version", lambda name: old)
    monkeypatch.setattr(ensemble_model, "move_best", lambda *where: moved.append(where))
    new = Version("m", "2", "r2", {"data_digest": "a"})
    settle_best(new, lists(own), JUDGMENTS, lambda version: None if best is None else lists(best))
    assert moved == [("m", "2")] * moves


def test_the_first_is_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = []
    monkeypatch.setattr(ensemble_model, "best_version", lambda name: None)
    monkeypatch.setattr(ensemble_model, "move_best", lambda *where: moved.append(where))
    settle_best(Version("m", "1", "r", {}), lists(1.0), JUDGMENTS, lambda version: None)
    assert moved == [("m", "1")]
