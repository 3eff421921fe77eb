"""Gradient ascent on a smoothed MAP, for the warm starts of the search.

MAP is piecewise constant in the weights. With a sigmoid instead of each comparison of two scores it has a gradient
(Brown et al., Smooth-AP, ECCV 2020), and a few dozen steps come close to the best weights for a given k.
"""

import numpy as np

PAIRS = 200_000  # sample of the comparisons of a positive with another pair of its class
STEPS = 60
TEMPERATURE = 0.03  # width of the sigmoid, in standard deviations of the scores


def smooth_weights(ranks: np.ndarray, rows: np.ndarray, positive: np.ndarray, k: float) -> np.ndarray:
    """Weights (members) close to the best for this k; the largest is 1.

    Args:
        ranks: (members, pairs), inf if the member does not list the pair.
        rows: Class of each judged pair, as an index from 0, ascending; each class has a positive.
        positive: True for relevant pairs.
        k: The constant of the fusion.
    """
    from scipy.optimize import minimize

    owner, other, share = _pairs(rows, positive)
    votes = 1 / (k + ranks)
    scale = TEMPERATURE * (votes.mean(axis=0).std() or 1.0)
    ahead = (votes[:, other] - votes[:, np.flatnonzero(positive)[owner]]) / scale
    relevant, count = positive[other], int(positive.sum())
    classes = rows[positive]
    part = 1 / np.bincount(classes)[classes] / (rows[-1] + 1)  # weight of each positive in MAP

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        total = weights.sum()
        above = 1 / (1 + np.exp(-np.clip(weights / total @ ahead, -500, 500)))
        hits = 1 + np.bincount(owner, above * relevant, count) / share
        rank = 1 + np.bincount(owner, above, count) / share
        slope = (part / rank)[owner] * (relevant - (hits / rank)[owner]) * above * (1 - above) / share
        gradient = ahead @ slope
        return -float(part @ (hits / rank)), (gradient @ weights / total - gradient) / total

    bounds = [(1e-6, None)] * len(ranks)
    best = minimize(loss, np.ones(len(ranks)), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS}).x
    return best / best.max()


def _pairs(rows: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Comparisons: positives (numbered among the positives), other pairs of their classes, and the share sampled."""
    sizes = np.bincount(rows)
    starts = (np.cumsum(sizes) - sizes)[rows[positive]]
    width = sizes[rows[positive]]
    ends = np.cumsum(width)
    total = int(ends[-1])
    if total <= PAIRS:
        chosen = np.arange(total)
    else:  # an array of all comparisons may not fit memory
        chosen = np.sort(np.random.default_rng(0).choice(total, PAIRS, replace=False, shuffle=False))
    owner = np.searchsorted(ends, chosen, side="right")
    other = chosen - (ends - width)[owner] + starts[owner]
    apart = other != np.flatnonzero(positive)[owner]
    return owner[apart], other[apart], min(1.0, PAIRS / total)
