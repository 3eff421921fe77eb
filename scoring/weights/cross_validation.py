"""MAP of weights on judgments that they were not fitted on, and the effect of each weight."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from scoring.fusion.fusion import MEMBER_K
from scoring.weights.climb import coordinate_ascent
from scoring.weights.objective import Objective
from scoring.weights.trials import Trial, map_of, weights_of_one


def leave_one_out(objective: Objective, weights: Mapping[str, float], k: float) -> dict[str, float]:
    """MAP lost without each member of positive weight, while the others keep their ratios.

    A member whose loss is 0 or less is not needed on these judgments.
    """
    voting = [member for member, weight in weights.items() if weight > 0]
    if len(voting) < 2:
        return {}
    whole = map_of(objective, weights, k)
    return {member: whole - map_of(objective, {**weights, member: 0.0}, k) for member in voting}


def sensitivity(
    objective: Objective, weights: Mapping[str, float], *, k: float, steps: int = 21
) -> dict[str, tuple[list[float], list[float]]]:
    """Per member: shares from 0 to 1, and the MAP with that share while the other members keep their ratios."""
    curves, total = {}, sum(weights.values())
    for number, member in enumerate(objective.members):
        others = np.array([weights[other] for other in objective.members]) / total
        others[number] = 0.0
        if not others.any():
            continue
        shares = np.linspace(0, 1, steps)
        vectors = (1 - shares)[:, None] * others / others.sum()
        vectors[:, number] = shares
        # At shares 0 and 1 some members do not vote, so the mode `google` may have no class to average over.
        ends = [dict(zip(objective.members, vectors[end].tolist(), strict=True)) for end in (0, -1)]
        first, last = (map_of(objective, end, k) for end in ends)
        between = objective.maps(vectors[1:-1], np.full(steps - 2, k)).tolist()
        curves[member] = (shares.tolist(), [first, *between, last])
    return curves


def shrink(weights: Mapping[str, float], amount: float) -> dict[str, float]:
    """Weights shrunk towards equal ones: 0 does not change their shares, 1 makes them equal."""
    total = sum(weights.values())
    return {name: (1 - amount) * weight / total + amount / len(weights) for name, weight in weights.items()}


@dataclass(frozen=True)
class CrossValidation:
    """Mean MAP on held-out halves.

    `fitted`: weights fitted on the other half (`given_on_halves`: the given ones). `shrunk`: the same shrunk half-way
    towards equal ones. `best_member`: the member of the highest MAP on the other half.
    """

    fitted: float
    shrunk: float
    equal_weights: float
    best_member: float


def cross_validated_map(
    objective: Objective, *, repeats: int = 5, evaluations: int = 300, seed: int = 0
) -> CrossValidation:
    """Fit weights on half of the units, score them on the other half; both ways, for several random halvings.

    Each fit is a coordinate ascent of `evaluations` from equal weights, since the search takes too long to repeat.
    ValueError if the judgments cannot be halved.
    """

    def fitted(half: Objective, number: int) -> tuple[Mapping[str, float], float]:
        return fit_weights(half, evaluations=evaluations, seed=seed + number)

    return _on_halves(objective, fitted, repeats=repeats, seed=seed)


def fit_weights(objective: Objective, *, evaluations: int = 300, seed: int = 0) -> tuple[Mapping[str, float], float]:
    """Weights and k of the highest MAP that a coordinate ascent from equal weights finds."""
    equal = dict.fromkeys(objective.members, 1.0)
    start = Trial("warm", equal, MEMBER_K, map_of(objective, None, MEMBER_K), 0.0)
    steps = coordinate_ascent(objective, start, evaluations=evaluations, seed=seed)
    best = max([start, *steps], key=lambda trial: trial.map)
    return best.weights, best.k


def given_on_halves(
    objective: Objective, weights: Mapping[str, float], k: float, *, repeats: int = 5
) -> CrossValidation:
    """`cross_validated_map` for weights that were given: they are scored on the halves as they are."""
    return _on_halves(objective, lambda half, number: (weights, k), repeats=repeats, seed=0)


def _on_halves(
    objective: Objective,
    weights_for: Callable[[Objective, int], tuple[Mapping[str, float], float]],
    *,
    repeats: int,
    seed: int,
) -> CrossValidation:
    """Mean MAP on held-out halves; `weights_for` returns weights and k from the other half and the halving's number."""
    scores = []
    for number, (one, other) in enumerate(halvings(objective, repeats, seed)):
        for fit, held_out in ((one, other), (other, one)):
            weights, k = weights_for(fit, number)
            alone = [weights_of_one(member, fit.members) for member in fit.members]
            best_member = max(alone, key=lambda single: map_of(fit, single, MEMBER_K))
            proposals = ((weights, k), (shrink(weights, 0.5), k), (None, MEMBER_K), (best_member, MEMBER_K))
            scores.append([map_of(held_out, *proposal) for proposal in proposals])
    return CrossValidation(*np.mean(scores, axis=0).tolist())


def halvings(objective: Objective, repeats: int, seed: int) -> Iterator[tuple[Objective, Objective]]:
    """Random halvings of the judged units; one that leaves a half without a positive that counts is skipped."""
    units, positive = objective.units, objective.positive
    if objective.mode == "google":
        positive = positive & np.any(objective.has, axis=0)[objective.rows]
    if len(np.unique(units[positive])) < 2:
        raise ValueError("all positives are of one video or class; weights cannot be fitted on half of it")
    count = int(units.max()) + 1
    rng = np.random.default_rng(seed)
    made = 0
    while made < repeats:
        one = (rng.permutation(count) < count // 2)[units]
        if (one & positive).any() and (~one & positive).any():
            made += 1
            yield objective.restrict(one), objective.restrict(~one)
