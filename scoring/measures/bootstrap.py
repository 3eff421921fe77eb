"""Confidence intervals of MAP by the bootstrap: the judged videos are resampled with replacement.

The unit is the video, because segments of one video are alike; if ids have no `:` (documents) it is the class.
"""

import logging
from dataclasses import dataclass

import numpy as np
import polars as pl

from scoring.measures.average_precision import Evaluation, Mode, evaluate_ranks, precision_sums
from videos.judgments import Judgments

log = logging.getLogger(__name__)

RESAMPLES = 1000
CONFIDENCE = 0.95
TOGETHER = 64  # resamples that are scored at a time
ROUNDING = 1e-10  # smaller gains come from adding in another order


@dataclass(frozen=True)
class Difference:
    """How much higher one submission's MAP is than another's: `map` on the judgments themselves, `low` and `high` the
    95 % percentile interval over bootstrap resamples, `above` the share of resamples in which it is higher."""

    map: float
    low: float
    high: float
    above: float


@dataclass(frozen=True)
class Resampled:
    """A submission's evaluation on the judgments, and its MAP on each bootstrap resample.

    `maps` (resamples,) f64 is nan if a resample leaves no class to average over; such resamples are ignored. Resampled
    MAPs are biased upward, because duplicated videos count as extra hits; with many classes the bias exceeds the
    spread. They are shifted so that their mean is the observed MAP.
    """

    evaluation: Evaluation
    maps: np.ndarray

    @property
    def map(self) -> float:
        return self.evaluation.map

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % percentile interval of MAP, clipped to [0, 1]."""
        low, high = _percentiles(self.maps)
        return max(low, 0.0), min(high, 1.0)

    def over(self, other: "Resampled") -> Difference:
        """How much higher this MAP is than another measured on the same resamples: a paired bootstrap."""
        gains = self.maps - other.maps
        above = float(np.mean(gains[~np.isnan(gains)] > ROUNDING))
        return Difference(self.map - other.map, *_percentiles(gains), above)


class Bootstrap:
    """Resamples of the judged videos with replacement, the same ones for every submission that is measured.

    A video drawn twice counts twice; a class that a resample leaves without positives is not averaged over in it. The
    unit of resampling is `judgments.unit`.
    """

    def __init__(self, judgments: Judgments, *, resamples: int = RESAMPLES, seed: int = 0):
        self.judgments = judgments
        units = judgments.units
        self._pairs = judgments.scored.with_columns(unit=units.rank("dense") - 1)
        count = units.n_unique()
        if count == 1:
            log.warning("the judgments are of one of the %s: all resamples are the same", judgments.unit)
        rng = np.random.default_rng(seed)
        self._times = np.empty((count, resamples), dtype=np.int32)  # how often each unit is drawn
        for number in range(resamples):
            self._times[:, number] = np.bincount(rng.integers(count, size=count), minlength=count)

    def measure(self, ranks: pl.DataFrame, present: pl.Series, mode: Mode = "strict") -> Resampled:
        """Evaluate a submission on the judgments and on every resample.

        Args:
            ranks: The submission's ranks of judged pairs, as `judged_ranks` returns them.
            present: Its classes; in the mode `google` others are not averaged over, in any resample.
            mode: `strict` or `google`, as for `mean_average_precision`.
        """
        evaluation = evaluate_ranks(ranks, self.judgments.pairs, present, mode)
        maps = self.maps(ranks, present, mode)
        return Resampled(evaluation, maps + (evaluation.map - np.nanmean(maps)))

    def maps(self, ranks: pl.DataFrame, present: pl.Series, mode: Mode = "strict") -> np.ndarray:
        """MAP on each resample (resamples,) f64; nan if a resample leaves no class to average over."""
        listed = ranks.select("class_id", "segment_id", "rank")
        pairs = self._pairs.join(listed, on=["class_id", "segment_id"], how="left")
        pairs = pairs.sort("class_id", "rank", "segment_id", nulls_last=True)
        if mode == "google":
            pairs = pairs.filter(pl.col("class_id").is_in(present.implode()))
        units, rows = pairs["unit"].to_numpy(), (pairs["class_id"].rank("dense") - 1).to_numpy().astype(np.int64)
        positive, within = (pairs["relevance"] > 0).to_numpy(), pairs["rank"].is_not_null().to_numpy()
        if self.judgments.unit == "topics":
            precision = precision_sums(rows, positive, within, rows[-1] + 1) / np.bincount(rows[positive])
            times = self._times[units[np.unique(rows, return_index=True)[1]]]
            return _mean(precision @ times, times.sum(axis=0))
        starts = range(0, self._times.shape[1], TOGETHER)
        blocks = (self._times[units, start : start + TOGETHER] for start in starts)
        return np.concatenate([_maps(rows, positive, within, times) for times in blocks])


def _maps(rows: np.ndarray, positive: np.ndarray, listed: np.ndarray, times: np.ndarray) -> np.ndarray:
    """MAP of each resample (resamples,) f64; `times` (pairs, resamples) is how often each judged pair is drawn.

    Pairs are ordered as for `precision_sums`. A pair drawn m times becomes m consecutive entries. If `before` entries
    precede a positive and `wrong` of them are negative, its i-th copy has precision 1 - wrong / (before + i), so the m
    copies sum to m - wrong * (H(before + m) - H(before)), H the harmonic numbers.
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


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanquantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
