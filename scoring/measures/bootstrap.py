"""How sure a MAP is: intervals by drawing the judged videos again, and weights scored where they were not fitted.

The unit is the video, because segments of one video are alike; where ids have no `:` (documents) it is the class.
"""

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from scoring.measures.average_precision import Evaluation, Mode, evaluate_ranks, precision_sums
from videos.judgments import last_of_pairs
from videos.segments import has_videos, videos_of

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
