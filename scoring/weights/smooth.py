"""Weights that a gradient finds: a starting point for the search.

MAP is a staircase, without slope. Smoothed, with a sigmoid in the place of each "stands above", it has one (Brown et
al., Smooth-AP, ECCV 2020), and a few dozen steps lead near the best weights for a given k.
"""

import numpy as np

PAIRS = 200_000  # of a positive and another pair of its class; a sample of so many where there are more
STEPS = 60
TEMPERATURE = 0.03  # width of the sigmoid, in standard deviations of the scores


def smooth_weights(ranks: np.ndarray, rows: np.ndarray, positive: np.ndarray, k: float, seed: int = 0) -> np.ndarray:
    """Weights (members) near the best for this k; the largest is 1.

    Args:
        ranks: (members, pairs), inf where a member does not list a pair.
        rows: class of each judged pair, as an index from 0, ascending; each class has a positive.
        positive: whether the pair is relevant.
    """
    from scipy.optimize import minimize

    owner, other, share = _pairs(rows, positive, seed)
    votes = 1 / (k + ranks)
    scale = TEMPERATURE * (votes.mean(axis=0).std() or 1.0)
    ahead = (votes[:, other] - votes[:, np.flatnonzero(positive)[owner]]) / scale
    relevant, count = positive[other], int(positive.sum())
    of_class = rows[positive]
    part = 1 / np.bincount(of_class)[of_class] / (rows[-1] + 1)  # of each positive in MAP

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        total = weights.sum()
        above = 1 / (1 + np.exp(-np.clip(weights / total @ ahead, -500, 500)))
        hits = 1 + np.bincount(owner, above * relevant, count) / share
        place = 1 + np.bincount(owner, above, count) / share
        slope = (part / place)[owner] * (relevant - (hits / place)[owner]) * above * (1 - above) / share
        gradient = ahead @ slope
        return -float(part @ (hits / place)), (gradient @ weights / total - gradient) / total

    bounds = [(1e-6, None)] * len(ranks)
    found = minimize(loss, np.ones(len(ranks)), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS})
    return found.x / found.x.max()


def _pairs(rows: np.ndarray, positive: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Positives (numbered among the positives) with the other pairs of their class, and which share of all these is."""
    sizes = np.bincount(rows)
    starts = (np.cumsum(sizes) - sizes)[rows[positive]]
    width = sizes[rows[positive]]
    ends = np.cumsum(width)
    total = int(ends[-1])
    chosen = np.arange(total) if total <= PAIRS else _drawn(total, seed)
    owner = np.searchsorted(ends, chosen, side="right")
    other = chosen - (ends - width)[owner] + starts[owner]
    apart = other != np.flatnonzero(positive)[owner]
    return owner[apart], other[apart], min(1.0, PAIRS / total)


def _drawn(total: int, seed: int) -> np.ndarray:
    """`PAIRS` different numbers below `total`, ascending; `total` may be far too large for an array."""
    return np.sort(np.random.default_rng(seed).choice(total, PAIRS, replace=False, shuffle=False))
