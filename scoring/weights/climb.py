"""Local search over weights and k: coordinate ascent, and CMA-ES."""

import time
from collections.abc import Iterator

import numpy as np

from scoring.weights.objective import Objective
from scoring.weights.trials import Trial, best_trial, score_trial

K_RANGE = (0.1, 1000.0)
FACTORS = (4.0, 2.0, 1.4, 1.15, 1.05, 1.02)  # step sizes of the coordinate ascent, coarse to fine
GENERATION = 32  # weight vectors of CMA-ES at a time


def coordinate_ascent(objective: Objective, start: Trial, *, evaluations: int, seed: int = 0) -> Iterator[Trial]:
    """Coordinate ascent from a trial. Yields every trial.

    Each weight and k is increased and decreased (a weight also set to 0), with coarse steps first; an improvement
    becomes the new point. Rounds are repeated until none improves.
    """
    rng = np.random.default_rng(seed)
    best, left = start, evaluations
    while left > 0:
        before = best.map
        for factor in FACTORS:
            for name in rng.permutation([*objective.members, ""]):
                for weights, k in _steps(best, str(name), factor):
                    if left <= 0:
                        return
                    trial, left = score_trial(objective, "climb", weights, k), left - 1
                    yield trial
                    best = trial if trial.map > best.map else best
        if best.map == before:
            return


def evolve(objective: Objective, start: Trial, *, evaluations: int, seed: int = 0) -> Iterator[Trial]:
    """CMA-ES from a trial, restarted when it has converged. Yields the best trial of each generation.

    Each restart chooses at random between the best trial so far and random weights.
    """
    import cma

    rng = np.random.default_rng(seed)
    best, left = start, evaluations
    while left >= GENERATION:
        from_best = left == evaluations or (best.map > start.map and rng.random() < 0.5)
        weights = np.array([best.weights[member] for member in objective.members])
        if not from_best:
            weights = rng.random(len(objective.members))
        origin = [*(weights / weights.max()), np.log(best.k)]
        settings = {"popsize": GENERATION, "seed": int(rng.integers(1, 2**31)), "verbose": -9, "maxfevals": left}
        strategy = cma.CMAEvolutionStrategy(origin, 0.1 if from_best else 0.3, settings)
        while left >= GENERATION and not strategy.stop():
            began = time.perf_counter()
            asked = strategy.ask()
            points = np.array(asked)
            vectors, ks = np.abs(points[:, :-1]), np.clip(np.exp(points[:, -1]), *K_RANGE)
            maps = objective.maps(vectors, ks)
            strategy.tell(asked, (-maps).tolist())
            left -= GENERATION
            index = int(maps.argmax())
            weights = dict(zip(objective.members, vectors[index].tolist(), strict=True))
            seconds = time.perf_counter() - began
            trial = Trial("climb", weights, float(ks[index]), float(maps[index]), seconds, GENERATION)
            yield trial
            best = trial if trial.map > best.map else best


def limit(objective: Objective, start: Trial, *, evaluations: int, seed: int) -> Trial:
    """Approximately the highest MAP on these judgments, by CMA-ES: the reference for a search."""
    return best_trial([start, *evolve(objective, start, evaluations=evaluations, seed=seed)])


def _steps(trial: Trial, name: str, factor: float) -> Iterator[tuple[dict[str, float], float]]:
    """Weights and k of a trial's neighbours, which differ in one member's weight, or in k if the name is empty."""
    if not name:
        yield from ((trial.weights, float(np.clip(k, *K_RANGE))) for k in (trial.k * factor, trial.k / factor))
        return
    weight, mean = trial.weights[name], sum(trial.weights.values()) / len(trial.weights)
    values = (weight * factor, weight / factor, 0.0) if weight else (mean * (factor - 1),)
    for value in values:
        weights = {**trial.weights, name: value}
        if any(weights.values()):
            yield weights, trial.k
