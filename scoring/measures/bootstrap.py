"""Intervals of MAP and of differences between MAPs, from bootstrap resamples of the judged videos or classes."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from scoring.lists.kernels import resampled_precisions
from scoring.lists.threads import cores, in_threads
from scoring.measures.average_precision import Evaluation, Mode, evaluate_ranks, precision_sums
from videos.judgments import Judgments

log = logging.getLogger(__name__)

RESAMPLES = 1000
CONFIDENCE = 0.95
ROUNDING = 1e-10  # smaller gains come from adding in another order
FEWEST = 10  # units for a verdict
GROUPS = 200  # the jackknife leaves out one of so many groups of units at a time; single units if there are fewer


@dataclass(frozen=True)
class Difference:
    """How much higher one submission's MAP is than another's, paired by unit.

    `map` is the difference on the judgments. `low` and `high` are its 95 % interval and `p` is the two-sided p-value of
    no difference: Student's t with the jackknife's standard error, which for classes is the paired t-test. Fewer than
    `FEWEST` units give no verdict: the interval is -1 to 1, p is 1. `above` is the share of bootstrap resamples in
    which it is higher. `units` counts the videos or classes.
    """

    map: float
    low: float
    high: float
    above: float
    p: float
    units: int

    @property
    def has_verdict(self) -> bool:
        """Whether there are enough units to say if the two differ."""
        return self.units >= FEWEST


def p_text(p: float) -> str:
    """A p-value as it is printed: 0.012, or <0.001."""
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


@dataclass(frozen=True)
class ResampledMap:
    """A MAP on the judgments, and on each bootstrap resample of the `units` units.

    `maps` (resamples,) f64 is nan if a resample leaves no class to average over; such resamples are ignored. `without`
    (groups,) f64 is the MAP without each group of units, for the jackknife. Resampled MAPs are biased upward, because
    duplicated videos count as extra hits; with many classes the bias exceeds the spread. They are shifted so that their
    mean is the observed MAP.
    """

    map: float
    maps: np.ndarray
    without: np.ndarray
    units: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % percentile interval of MAP, clipped to [0, 1]."""
        low, high = _percentiles(self.maps)
        return max(low, 0.0), min(high, 1.0)

    def gain_interval(self, other: "ResampledMap") -> tuple[float, float]:
        """The 95 % percentile interval of this MAP minus another one measured on the same resamples."""
        return _percentiles(self.maps - other.maps)

    def over(self, other: "ResampledMap") -> Difference:
        """The difference between this MAP and another one measured on the same resamples.

        With few units percentile intervals are too narrow: on ten classes they separate two equal systems in 8 % of
        data sets, and one of eight equal systems in 70 %. The t intervals are calibrated
        (tests/scoring/measures/test_calibration.py).
        """
        from scipy.special import stdtr, stdtrit  # scipy.stats takes a second to load

        gains, gain = self.maps - other.maps, self.map - other.map
        above = float(np.mean(gains[~np.isnan(gains)] > ROUNDING))
        if self.units < FEWEST:
            return Difference(gain, -1.0, 1.0, above, 1.0, self.units)
        left_out = self.without - other.without
        left_out = left_out[~np.isnan(left_out)]
        freedom = len(left_out) - 1
        error = float(np.sqrt(freedom * np.var(left_out)))
        half = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error
        p = 1.0 if abs(gain) <= ROUNDING else float(2 * stdtr(freedom, -abs(gain) / error)) if error else 0.0
        return Difference(gain, gain - half, gain + half, above, p, self.units)


@dataclass(frozen=True)
class Resampled(ResampledMap):
    """A submission's MAP on each resample, with its evaluation on the judgments."""

    evaluation: Evaluation


def mean_over(measured: Sequence[ResampledMap]) -> ResampledMap:
    """The mean of several MAPs on the same resamples, such as those of one member trained with several seeds."""
    return ResampledMap(
        map=float(np.mean([one.map for one in measured])),
        maps=np.mean([one.maps for one in measured], axis=0),
        without=np.mean([one.without for one in measured], axis=0),
        units=measured[0].units,
    )


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's corrected p-values: below 0.05 for a true hypothesis in at most 5 % of all families of comparisons."""
    order, corrected = np.argsort(ps), np.empty(len(ps))
    factors = np.arange(len(ps), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(np.asarray(ps)[order] * factors))
    return corrected.tolist()


class Bootstrap:
    """Resamples of the judged units (videos or classes) with replacement, the same ones for every submission.

    A unit drawn twice counts twice. A resample ignores the classes that it leaves without positives.
    """

    def __init__(self, judgments: Judgments, *, resamples: int = RESAMPLES, seed: int = 0):
        self.judgments = judgments
        self._pairs = judgments.scored.with_columns(unit=pl.Series(judgments.units))
        count = judgments.unit_count
        if count == 1:
            log.warning("the judgments are of a single %s: all resamples are the same", judgments.unit)
        rng = np.random.default_rng(seed)
        groups = min(count, GROUPS)
        self._resamples = resamples
        self._times = np.ones((count, resamples + groups), dtype=np.uint32)  # how often each unit counts
        for number in range(resamples):
            self._times[:, number] = np.bincount(rng.integers(count, size=count), minlength=count)
        self._times[np.arange(count), resamples + rng.permutation(count) % groups] = 0

    def measure(self, ranks: pl.DataFrame, present: pl.Series, mode: Mode = "strict") -> Resampled:
        """Evaluate a submission on the judgments and on every resample.

        Args:
            ranks: The submission's ranks of judged pairs, as `ranks_of_blocks` returns them.
            present: Its classes; the mode `google` ignores all others, in every resample.
            mode: `strict` or `google`, as for `mean_average_precision`.
        """
        evaluation = evaluate_ranks(ranks, present, self.judgments, mode)
        maps = self.maps(ranks, present, mode)
        maps, without = self._moved(maps, evaluation.map)
        return Resampled(evaluation.map, maps, without, self.judgments.unit_count, evaluation)

    def measure_on(self, units: np.ndarray, ranks: pl.DataFrame, present: pl.Series) -> ResampledMap:
        """`measure` (strict) on the judgments of some units alone, such as the half that weights were not fitted on.

        `units` are their numbers (`Judgments.units`). Classes without a positive of these units do not count.
        """
        times = np.zeros((len(self._times), self._times.shape[1] + 1), dtype=np.uint32)
        times[units] = np.column_stack([self._times[units], np.ones(len(units), dtype=np.uint32)])
        *maps, observed = self._maps(ranks, present, "strict", times).tolist()
        maps, without = self._moved(np.array(maps), observed)
        return ResampledMap(observed, maps, without, len(units))

    def _moved(self, maps: np.ndarray, observed: float) -> tuple[np.ndarray, np.ndarray]:
        """The MAPs on the resamples, shifted so that their mean is the observed one, and those without each group."""
        maps, without = maps[: self._resamples], maps[self._resamples :]
        return maps + (observed - np.nanmean(maps)), without

    def maps(self, ranks: pl.DataFrame, present: pl.Series, mode: Mode = "strict") -> np.ndarray:
        """MAP on each resample, then without each group of units, f64; nan if no class is left to average over."""
        return self._maps(ranks, present, mode, self._times)

    def _maps(self, ranks: pl.DataFrame, present: pl.Series, mode: Mode, counts: np.ndarray) -> np.ndarray:
        """MAP if each unit counts as often as a column of `counts` (units, columns) says."""
        listed = ranks.select("class_id", "segment_id", "rank")
        pairs = self._pairs.join(listed, on=["class_id", "segment_id"], how="left")
        pairs = pairs.sort("class_id", "rank", "segment_id", nulls_last=True)
        if mode == "google":
            pairs = pairs.filter(pl.col("class_id").is_in(present.implode()))
        units, rows = pairs["unit"].to_numpy(), pairs["class_id"].rle_id().to_numpy().astype(np.int64)
        positive, within = (pairs["relevance"] > 0).to_numpy(), pairs["rank"].is_not_null().to_numpy()
        if self.judgments.unit == "class":
            precision = precision_sums(rows, positive, within, rows[-1] + 1) / np.bincount(rows[positive])
            times = counts[units[np.unique(rows, return_index=True)[1]]]
            return _mean(precision @ times, times.sum(axis=0))
        ends = np.cumsum(np.bincount(rows))

        def score(times: np.ndarray) -> np.ndarray:
            return _mean(*resampled_precisions(times, units, positive, within, ends))

        return np.concatenate(list(in_threads(score, np.array_split(counts, cores(), axis=1))))


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanquantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist()
    return low, high


def _mean(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
