import numpy as np
import pytest

from scoring.weights import smooth
from scoring.weights.objective import Objective
from scoring.weights.smooth import smooth_weights
from tests.scoring.generated import judgments_of, submission_of
from videos.judgments import Judgments


@pytest.fixture(scope="module")
def objective():
    """Two good members that err alike, a fair one that errs otherwise, and one of noise, over six classes."""
    rng = np.random.default_rng(5)
    ids = np.array([f"v{i:03}:0" for i in range(60)])
    lists = {name: {} for name in ("alike", "as well", "fair", "noise")}
    relevance = {}
    for class_id in range(6):
        truth, common = rng.normal(size=(2, len(ids)))
        errors = {"alike": common, "as well": common, "fair": 1.2 * rng.normal(size=len(ids))}
        for name, ranked in lists.items():
            worth = truth + errors[name] if name in errors else np.zeros(len(ids))
            ranked[class_id] = ids[np.argsort(-worth - 0.1 * rng.normal(size=len(ids)))]
        relevance |= {(class_id, segment): int(value > 0.7) for segment, value in zip(ids, truth, strict=True)}
    return Objective.of(
        {name: submission_of(ranked) for name, ranked in lists.items()}, Judgments(judgments_of(relevance))
    )


def weights_at(objective: Objective, k: float) -> dict[str, float]:
    weights = smooth_weights(objective.ranks, objective.rows, objective.positive, k)
    return dict(zip(objective.members, weights.tolist(), strict=True))


def test_finds_better_weights_than_equal_ones(objective):
    for k in (5.0, 60.0):
        weights = weights_at(objective, k)
        assert max(weights.values()) == 1
        assert objective.map(weights, k) > objective.map(None, k) + 0.05
        assert weights["noise"] < 0.2 * weights["fair"]


def test_a_sample_of_the_pairs_will_do(objective, monkeypatch):
    whole = weights_at(objective, 5.0)
    monkeypatch.setattr(smooth, "PAIRS", 1500)
    sampled = weights_at(objective, 5.0)
    assert sampled != whole
    assert objective.map(sampled, 5.0) > objective.map(None, 5.0) + 0.05


def test_the_gradient_is_that_of_the_smoothed_map(objective, monkeypatch):
    def compare(loss, start, **_):
        _, gradient = loss(start)
        steps = 1e-6 * np.eye(len(start))
        by_steps = [(loss(start + step)[0] - loss(start - step)[0]) / 2e-6 for step in steps]
        assert gradient == pytest.approx(by_steps, rel=1e-5, abs=1e-9)
        raise StopIteration

    monkeypatch.setattr("scipy.optimize.minimize", compare)
    with pytest.raises(StopIteration):
        weights_at(objective, 5.0)


def test_one_large_class_needs_little_memory():
    rng = np.random.default_rng(0)
    positive = rng.random(70_000) < 0.5  # 2.4 thousand million pairs
    ranks = np.array([np.argsort(np.argsort(rng.normal(size=70_000) - positive)) for _ in range(2)], dtype=float) + 1
    weights = smooth_weights(ranks, np.zeros(70_000, dtype=int), positive, 60.0)
    assert weights.max() == 1
