"""What weights are worth on videos that they were not fitted on, and how much each of them matters."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from scoring.fusion.fusion import MEMBER_K
from scoring.weights.climb import climb
from scoring.weights.objective import Objective
from scoring.weights.trials import Trial, map_of
from videos.segments import has_videos, videos_of


def leave_one_out(objective: Objective, weights: Mapping[str, float], k: float) -> dict[str, float]:
    """By how much MAP falls when a member is taken out and the others keep their ratios; of members that vote.

    A member whose gain is 0 or less is not needed on these judgments.
    """
    voting = [member for member, weight in weights.items() if weight > 0]
    if len(voting) < 2:
        return {}
    whole = map_of(objective, weights, k)
    return {member: whole - map_of(objective, {**weights, member: 0.0}, k) for member in voting}


def sensitivity(
    objective: Objective, weights: Mapping[str, float], k: float, steps: int = 21
) -> dict[str, tuple[list[float], list[float]]]:
    """For each member: shares from 0 to 1, and the MAP with that share while the others keep their ratios."""
    found, total = {}, sum(weights.values())
    for number, member in enumerate(objective.members):
        others = np.array([weights[other] for other in objective.members]) / total
        others[number] = 0.0
        if not others.any():
            continue
        shares = np.linspace(0, 1, steps)
        vectors = (1 - shares)[:, None] * others / others.sum()
        vectors[:, number] = shares
        # At the ends some members do not vote, so that the mode `google` may find no class to count.
        ends = [dict(zip(objective.members, vectors[end].tolist(), strict=True)) for end in (0, -1)]
        first, last = (map_of(objective, end, k) for end in ends)
        between = objective.maps(vectors[1:-1], np.full(steps - 2, k)).tolist()
        found[member] = (shares.tolist(), [first, *between, last])
    return found


def shrink(weights: Mapping[str, float], amount: float) -> dict[str, float]:
    """Weights drawn toward equal ones: 0 leaves their shares as they are, 1 makes them equal."""
    total = sum(weights.values())
    return {name: (1 - amount) * weight / total + amount / len(weights) for name, weight in weights.items()}


@dataclass(frozen=True)
class CrossValidation:
    """Means of MAP on halves that nothing was chosen on: of the weights fitted on the other half, of these shrunk
    half-way toward equal weights, of equal weights, and of the member that was best on the other half."""

    fitted: float
    shrunk: float
    equal_weights: float
    best_member: float


def cross_validated_map(
    objective: Objective, repeats: int = 5, evaluations: int = 300, seed: int = 0
) -> CrossValidation:
    """Fit weights on half of the videos, score them on the other half; both ways, for several random halvings.

    Each fit is a climb of `evaluations` from equal weights, not the search with trials, which takes too long to repeat.
    """
    scores = []
    for number, (one, other) in enumerate(_halvings(objective, repeats, seed)):
        for fit, held_out in ((one, other), (other, one)):
            start = Trial("warm", dict.fromkeys(objective.members, 1.0), MEMBER_K, map_of(fit, None, MEMBER_K), 0.0)
            best = max([start, *climb(fit, start, evaluations, seed + number)], key=lambda trial: trial.map)
            alone = [{name: float(name == member) for name in fit.members} for member in fit.members]
            member = max(alone, key=lambda weights: map_of(fit, weights, MEMBER_K))
            scores.append(
                (
                    map_of(held_out, best.weights, best.k),
                    map_of(held_out, shrink(best.weights, 0.5), best.k),
                    map_of(held_out, None, MEMBER_K),
                    map_of(held_out, member, MEMBER_K),
                )
            )
    return CrossValidation(*np.mean(scores, axis=0).tolist())


def _halvings(objective: Objective, repeats: int, seed: int) -> Iterator[tuple[Objective, Objective]]:
    """Two halves of the judged videos, at random; halvings that leave a half without positives that count are drawn
    again."""
    pairs = objective.pairs
    units = (videos_of(pairs) if has_videos(pairs) else pairs["class_id"]).rank("dense").to_numpy() - 1
    count = int(units.max()) + 1
    if count < 2:
        raise ValueError("the judgments are of one video; weights cannot be fitted on half of it")
    positive = (pairs["relevance"] > 0).to_numpy()
    if objective.mode == "google":
        positive &= np.any(objective.has, axis=0)[objective.rows]
    if len(np.unique(units[positive])) < 2:
        raise ValueError("all positives are of one video; weights cannot be fitted on half of it")
    rng = np.random.default_rng(seed)
    found = 0
    while found < repeats:
        one = (rng.permutation(count) < count // 2)[units]
        if (one & positive).any() and (~one & positive).any():
            found += 1
            yield objective.restrict(one), objective.restrict(~one)
