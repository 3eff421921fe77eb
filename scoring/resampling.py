"""How sure a MAP is: intervals by drawing the judged videos again, and weights scored where they were not fitted.

The unit is the video, because segments of one video are alike; where ids have no `:` (documents) it is the class.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from scoring.average_precision import evaluate_ranks, precision_sums
from scoring.fusion import MEMBER_K
from scoring.judgments import last_of_pairs
from scoring.objective import Objective
from scoring.search import Trial, climb

REPLICATES = 1000
CONFIDENCE = 0.95


def bootstrap_interval(
    ranks: pl.DataFrame, judgments: pl.DataFrame, replicates: int = REPLICATES, seed: int = 0
) -> tuple[float, float]:
    """The middle 95 % of MAP when the judged videos are drawn again with replacement.

    Args:
        ranks: What `judged_ranks` finds of a submission.
    """
    maps = resampled_maps(ranks, judgments, replicates, seed)
    low, high = np.quantile(maps, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def resampled_maps(
    ranks: pl.DataFrame, judgments: pl.DataFrame, replicates: int = REPLICATES, seed: int = 0
) -> np.ndarray:
    """MAP on each of many draws of the judged videos, with replacement (replicates, f64).

    The same judgments and seed give the same draws, so that two submissions are compared draw by draw. A video drawn
    twice counts twice; a class that a draw leaves without positives does not count in it.
    """
    pairs = (
        last_of_pairs(judgments)
        .filter((pl.col("relevance") > 0).any().over("class_id"))
        .join(ranks.select("class_id", "segment_id", "rank"), on=["class_id", "segment_id"], how="left")
        .sort("class_id", "rank", "segment_id", nulls_last=True)
    )
    if pairs.is_empty():
        raise ValueError("the judgments hold no positive (relevance above 0), so there is no MAP; check the file")
    rows = (pairs["class_id"].rank("dense") - 1).to_numpy().astype(np.int64)
    positive, listed = (pairs["relevance"] > 0).to_numpy(), pairs["rank"].is_not_null().to_numpy()
    classes = int(rows[-1]) + 1
    rng = np.random.default_rng(seed)
    if not has_videos(pairs):
        precision = precision_sums(rows, positive, listed, classes) / np.bincount(rows[positive], minlength=classes)
        return precision[rng.integers(classes, size=(replicates, classes))].mean(axis=1)
    videos = (videos_of(pairs).rank("dense") - 1).to_numpy()
    count = int(videos.max()) + 1
    maps = []
    while len(maps) < replicates:
        times = np.bincount(rng.integers(count, size=count), minlength=count)
        drawn = np.repeat(np.arange(len(rows)), times[videos])
        positives = np.bincount(rows[drawn][positive[drawn]], minlength=classes)
        if positives.any():
            sums = precision_sums(rows[drawn], positive[drawn], listed[drawn], classes)
            maps.append(np.mean(sums[positives > 0] / positives[positives > 0]))
    return np.array(maps)


@dataclass(frozen=True)
class Difference:
    """By how much one submission's MAP is above another's: on the judgments themselves, the middle 95 % over draws of
    their videos, and the share of the draws in which it is above."""

    map: float
    low: float
    high: float
    above: float


def paired_difference(
    one: pl.DataFrame, other: pl.DataFrame, judgments: pl.DataFrame, replicates: int = REPLICATES, seed: int = 0
) -> Difference:
    """Compare two submissions on the same draws of the judged videos.

    Args:
        one: What `judged_ranks` finds of the submission.
        other: The same of the other.
    """
    drawn = [resampled_maps(ranks, judgments, replicates, seed) for ranks in (one, other)]
    gains = drawn[0] - drawn[1]
    present = judgments["class_id"].unique()
    whole = [evaluate_ranks(ranks, judgments, present).map for ranks in (one, other)]
    low, high = np.quantile(gains, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Difference(whole[0] - whole[1], float(low), float(high), float(np.mean(gains > 0)))


def leave_one_out(objective: Objective, weights: Mapping[str, float], k: float) -> dict[str, float]:
    """By how much MAP falls when a member is taken out and the others keep their ratios; of members that vote.

    A member whose gain is 0 or less is not needed on these judgments.
    """
    voting = [member for member, weight in weights.items() if weight > 0]
    if len(voting) < 2:
        return {}
    whole = objective.map(weights, k)
    return {member: whole - objective.map({**weights, member: 0.0}, k) for member in voting}


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
        found[member] = (shares.tolist(), objective.maps(vectors, np.full(steps, k)).tolist())
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

    Each fit is a climb from equal weights: quick, and as good on the half it sees as the search with trials.
    """
    scores = []
    for number, (one, other) in enumerate(_halvings(objective, repeats, seed)):
        for fit, held_out in ((one, other), (other, one)):
            start = Trial("warm", dict.fromkeys(objective.members, 1.0), MEMBER_K, fit.map(None, MEMBER_K), 0.0)
            best = max([start, *climb(fit, start, evaluations, seed + number)], key=lambda trial: trial.map)
            alone = [{name: float(name == member) for name in fit.members} for member in fit.members]
            member = max(alone, key=lambda weights: fit.map(weights, MEMBER_K))
            scores.append(
                (
                    held_out.map(best.weights, best.k),
                    held_out.map(shrink(best.weights, 0.5), best.k),
                    held_out.map(None, MEMBER_K),
                    held_out.map(member, MEMBER_K),
                )
            )
    return CrossValidation(*np.mean(scores, axis=0).tolist())


def has_videos(pairs: pl.DataFrame) -> bool:
    """Whether every segment id names its video (`<video_id>:<start>`)."""
    return pairs["segment_id"].str.contains(":", literal=True).all()


def videos_of(pairs: pl.DataFrame) -> pl.Series:
    """The video of each pair: its segment id up to the last `:`."""
    return pairs["segment_id"].str.replace(r":[^:]*$", "")


def _halvings(objective: Objective, repeats: int, seed: int) -> Iterator[tuple[Objective, Objective]]:
    """Two halves of the judged videos, at random; halvings that leave a half without positives are drawn again."""
    pairs = objective.pairs
    units = (videos_of(pairs) if has_videos(pairs) else pairs["class_id"]).rank("dense").to_numpy() - 1
    count = int(units.max()) + 1
    if count < 2:
        raise ValueError("the judgments are of one video; weights cannot be fitted on half of it")
    positive = (pairs["relevance"] > 0).to_numpy()
    if len(np.unique(units[positive])) < 2:
        raise ValueError("all positives are of one video; weights cannot be fitted on half of it")
    rng = np.random.default_rng(seed)
    found = 0
    while found < repeats:
        one = (rng.permutation(count) < count // 2)[units]
        if (one & positive).any() and (~one & positive).any():
            found += 1
            yield objective.restrict(one), objective.restrict(~one)
