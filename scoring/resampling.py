"""How sure a MAP is: intervals by drawing the judged videos again, and weights scored where they were not fitted.

The unit is the video, because segments of one video are alike; where ids have no `:` (documents) it is the class.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from scoring.average_precision import Evaluation, Mode, evaluate_ranks, precision_sums
from scoring.fusion import MEMBER_K
from scoring.judgments import last_of_pairs
from scoring.objective import Objective
from scoring.search import Trial, climb, map_of

log = logging.getLogger(__name__)

REPLICATES = 1000
CONFIDENCE = 0.95
TOGETHER = 64  # draws that are scored at a time
ROUNDING = 1e-10  # gains below are those of sums in another order

Unit = Literal["videos", "topics"]


@dataclass(frozen=True)
class Difference:
    """By how much one submission's MAP is above another's: on the judgments themselves, the middle 95 % over draws of
    their videos, and the share of the draws in which it is above."""

    map: float
    low: float
    high: float
    above: float


@dataclass(frozen=True)
class Sampled:
    """A submission's evaluation on the judgments, and its MAP on each draw of their videos.

    `maps` (draws) f64 is nan where a draw leaves no class to count; such draws are left out. They are moved so that
    their mean is the MAP on the judgments: a draw holds some videos twice and others not, which alone lifts MAP, with
    many classes by more than the draws differ.
    """

    evaluation: Evaluation
    maps: np.ndarray

    @property
    def map(self) -> float:
        return self.evaluation.map

    @property
    def interval(self) -> tuple[float, float]:
        """The middle 95 % of MAP over the draws, within 0 and 1."""
        low, high = _middle(self.maps)
        return max(low, 0.0), min(high, 1.0)

    def over(self, other: "Sampled") -> Difference:
        """By how much this is above another that was measured on the same draws: a paired bootstrap."""
        gains = self.maps - other.maps
        above = float(np.mean(gains[~np.isnan(gains)] > ROUNDING))
        return Difference(self.map - other.map, *_middle(gains), above)


class Draws:
    """Many draws of the judged videos with replacement: the same ones for every submission that is measured on them.

    A video drawn twice counts twice; a class that a draw leaves without positives does not count in it. `unit` says
    what is drawn: videos, or topics (classes) where ids name no video.
    """

    def __init__(self, judgments: pl.DataFrame, replicates: int = REPLICATES, seed: int = 0):
        self._judgments = judgments
        self._pairs = last_of_pairs(judgments).filter((pl.col("relevance") > 0).any().over("class_id"))
        if self._pairs.is_empty():
            raise ValueError("the judgments hold no positive (relevance above 0), so there is no MAP; check the file")
        self.unit: Unit = "videos" if has_videos(self._pairs) else "topics"
        names = videos_of(self._pairs) if self.unit == "videos" else self._pairs["class_id"]
        self._pairs = self._pairs.with_columns(unit=names.rank("dense") - 1)
        count = names.n_unique()
        if count == 1:
            log.warning("the judgments are of one of the %s: all draws are the same, intervals say nothing", self.unit)
        rng = np.random.default_rng(seed)
        self._times = np.empty((count, replicates), dtype=np.int32)  # how often each is drawn
        for draw in range(replicates):
            self._times[:, draw] = np.bincount(rng.integers(count, size=count), minlength=count)

    def measure(self, ranks: pl.DataFrame, present: pl.Series, mode: Mode = "strict") -> Sampled:
        """Evaluate a submission on the judgments and on every draw.

        Args:
            ranks: What `judged_ranks` finds of the submission.
            present: The classes that it has; others do not count in the mode `google`, in no draw.
        """
        evaluation = evaluate_ranks(ranks, self._judgments, present, mode)
        maps = self.maps(ranks, present, mode)
        return Sampled(evaluation, maps + (evaluation.map - np.nanmean(maps)))

    def maps(self, ranks: pl.DataFrame, present: pl.Series, mode: Mode = "strict") -> np.ndarray:
        """MAP on each draw (draws, f64); nan where a draw leaves no class to count."""
        listed = ranks.select("class_id", "segment_id", "rank")
        pairs = self._pairs.join(listed, on=["class_id", "segment_id"], how="left")
        pairs = pairs.sort("class_id", "rank", "segment_id", nulls_last=True)
        if mode == "google":
            pairs = pairs.filter(pl.col("class_id").is_in(present.implode()))
        units, rows = pairs["unit"].to_numpy(), (pairs["class_id"].rank("dense") - 1).to_numpy().astype(np.int64)
        positive, within = (pairs["relevance"] > 0).to_numpy(), pairs["rank"].is_not_null().to_numpy()
        if self.unit == "topics":
            precision = precision_sums(rows, positive, within, rows[-1] + 1) / np.bincount(rows[positive])
            times = self._times[units[np.unique(rows, return_index=True)[1]]]
            return _mean(precision @ times, times.sum(axis=0))
        starts = range(0, self._times.shape[1], TOGETHER)
        blocks = (self._times[units, start : start + TOGETHER] for start in starts)
        return np.concatenate([_maps(rows, positive, within, times) for times in blocks])


def _maps(rows: np.ndarray, positive: np.ndarray, listed: np.ndarray, times: np.ndarray) -> np.ndarray:
    """MAP of each draw (draws, f64), where `times` (pairs, draws) says how often a draw holds each judged pair.

    The pairs stand as for `precision_sums`. The copies of a pair stand one after another. Behind `before` pairs, of
    which `wrong` are negative, the m copies of a positive find the precisions 1 - wrong / (before + 1), ...,
    1 - wrong / (before + m): m less wrong times a part of the harmonic series.
    """
    at = np.flatnonzero(positive)
    first = np.searchsorted(rows, rows[at])  # of the class of each positive
    m = times[at]
    above = _above(times)
    before = above[at] - above[first]
    above = _above(times * ~positive[:, None])
    wrong = above[at] - above[first]
    series = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, (before + m).max() + 1))])
    sums = (m - wrong * (series[before + m] - series[before])) * listed[at, None]
    begins = np.unique(rows[at], return_index=True)[1]  # each class among the positives
    positives = np.add.reduceat(m, begins, axis=0)
    precision = np.add.reduceat(sums, begins, axis=0) / np.maximum(positives, 1)
    return _mean(precision.sum(axis=0), np.count_nonzero(positives, axis=0))


def _above(counts: np.ndarray) -> np.ndarray:
    """The sum of all rows above each row, and of all rows."""
    sums = np.zeros((len(counts) + 1, counts.shape[1]), dtype=np.int32)
    np.cumsum(counts, axis=0, out=sums[1:])
    return sums


def _mean(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)


def _middle(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanquantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


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


def has_videos(pairs: pl.DataFrame) -> bool:
    """Whether every segment id names its video (`<video_id>:<start>`)."""
    return pairs["segment_id"].str.contains(":", literal=True).all()


def videos_of(pairs: pl.DataFrame) -> pl.Series:
    """The video of each pair: its segment id up to the last `:`."""
    return pairs["segment_id"].str.replace(r":[^:]*$", "")


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
