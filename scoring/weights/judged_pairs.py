"""The judged pairs of some members as one small table, from which MAP is computed for any weights.

Columns, sorted by class and segment; pairs of classes without a positive are left out:

- class_id u16 (str if classes have names), segment_id str, relevance i16
- reach u32: of the class; null if no weights can move a pair beyond the cutoff (`objective.py`)
- rank u32: in the ensemble's fused list, null beyond the cutoff
- rank/<member> u32: in each member's merged list, null if it does not list the pair
"""

import numpy as np
import polars as pl

from scoring.lists.ranked import ClassId, K
from scoring.weights.objective import Objective
from videos.judgments import JUDGMENTS, Judgments, Unit

JUDGED_PAIRS = "judged_pairs.parquet"
MEMBER_RANK = "rank/"  # followed by a member's name


def judged_pairs(objective: Objective, fused: pl.DataFrame) -> pl.DataFrame:
    """The table of an objective and of its ensemble's ranks, as `ranks_of_blocks` returns them."""
    reach = pl.Series("reach", objective.reach[objective.rows])
    members = [
        pl.Series(f"{MEMBER_RANK}{m}", ranks) for m, ranks in zip(objective.members, objective.ranks, strict=True)
    ]
    numbers = pl.DataFrame([reach, *members])
    numbers = numbers.select(pl.when(pl.all().is_finite()).then(pl.all()).cast(pl.UInt32))
    ranks = objective.pairs.select("class_id", "segment_id").join(
        fused.select("class_id", "segment_id", pl.col("rank").cast(pl.UInt32)),
        on=["class_id", "segment_id"],
        how="left",
        maintain_order="left",
    )
    return objective.pairs.select(*JUDGMENTS).with_columns(numbers["reach"], ranks["rank"], *numbers.drop("reach"))


def members_of(pairs: pl.DataFrame) -> list[str]:
    """The members of a table, by name."""
    return sorted(name.removeprefix(MEMBER_RANK) for name in pairs.columns if name.startswith(MEMBER_RANK))


class Assumed:
    """Answers in place of the full lists: every pair in doubt is within the cutoff, or none is."""

    def __init__(self, is_within: bool):
        self._is_within = is_within

    def within(
        self, class_id: ClassId, ids: np.ndarray, scores: np.ndarray, shares: np.ndarray, k: float
    ) -> np.ndarray:
        return np.full(len(ids), self._is_within)


def objective_of(pairs: pl.DataFrame, unit: Unit | None = None, *, doubtful_count: bool = True) -> Objective:
    """The objective of a table, in the mode `strict`.

    Its MAP is exact unless a positive is in doubt at the cutoff, which only the full lists decide: `doubtful_count`
    counts such positives as listed, so MAP is an upper bound; without it they count as not listed: a lower bound.
    """
    members = members_of(pairs)
    judgments = Judgments(pairs.select(*JUDGMENTS), unit)
    ranks = pairs.select(pl.col(f"{MEMBER_RANK}{member}").cast(pl.Float64).fill_null(np.inf) for member in members)
    reach = pairs.group_by("class_id", maintain_order=True).agg(pl.col("reach").first().cast(pl.Float64))
    matrix = np.ascontiguousarray(ranks.to_numpy().T)
    starts = np.flatnonzero(pairs["class_id"].rle_id().diff().fill_null(1).to_numpy())
    has = np.logical_or.reduceat(np.isfinite(matrix), starts, axis=1)
    return Objective(
        members,
        judgments.scored,
        judgments.units,
        matrix,
        has,
        reach["reach"].fill_null(np.inf).to_numpy(),
        K,
        "strict",
        Assumed(doubtful_count),
    )
