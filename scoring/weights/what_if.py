"""MAP of any weights, its interval and its difference to other weights, from the table of judged pairs alone."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from scoring.measures.bootstrap import Bootstrap, Resampled
from scoring.weights.judged_pairs import objective_of
from scoring.weights.objective import Objective
from videos.judgments import Judgments, Unit


@dataclass(frozen=True)
class Scored:
    """Weights on the judged pairs: `resampled` has MAP, AP per class and the resamples; `lowest` is a bound of MAP.

    `lowest` is below the MAP if positives are in doubt at the cutoff, which only the full lists decide: MAP counts them
    as listed, `lowest` does not.
    """

    resampled: Resampled
    lowest: float

    @property
    def map(self) -> float:
        return self.resampled.map

    @property
    def is_exact(self) -> bool:
        """Whether this is the MAP of the full fused lists."""
        return self.lowest == self.map


class WhatIf:
    """Scores ensembles of the members in a table of `judged_pairs`, all on the same bootstrap resamples."""

    def __init__(self, pairs: pl.DataFrame, unit: Unit | None = None):
        self._upper = objective_of(pairs, unit)
        self._lower = objective_of(pairs, unit, doubtful_count=False)
        self._bootstrap = Bootstrap(Judgments(self._upper.pairs, unit))
        self._classes = self._upper.pairs["class_id"].unique().sort()

    @property
    def objective(self) -> Objective:
        """MAP as a function of weights and k; positives in doubt count as listed."""
        return self._upper

    @property
    def members(self) -> tuple[str, ...]:
        return self._upper.members

    def score(self, weights: Mapping[str, float] | None, k: float) -> Scored:
        """Score weights (None: equal ones); ValueError if no weight is positive or k is -1 or less."""
        ranks = self._upper.fused_ranks(weights, k)
        return Scored(self._bootstrap.measure(ranks, self._classes), self._lower.map(weights, k))


def class_changes(scored: Scored, other: Scored) -> pl.DataFrame:
    """AP per class of two ensembles: class_id, positives u32, ap, other, change (f64), largest gain first."""
    changed, base = (one.resampled.evaluation.per_class for one in (scored, other))
    table = changed.with_columns(other=base["ap"]).with_columns(change=pl.col("ap") - pl.col("other"))
    return table.select("class_id", "positives", "ap", "other", "change").sort(
        "change", "class_id", descending=[True, False]
    )
