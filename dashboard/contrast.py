"""Two members, or a member and the ensemble, class by class and segment by segment."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from dashboard.losses import ENSEMBLE as FUSED
from dashboard.losses import ranking
from scoring.lists.kernels import pair_scores
from scoring.measures.average_precision import evaluate_ranks
from scoring.weights.judged_pairs import MEMBER_RANK
from videos.judgments import JUDGMENTS, Judgments


def class_scores(pairs: pl.DataFrame, subject: str) -> pl.DataFrame:
    """AP of each class with a positive: class_id, ap, positives; `subject` is a member or `FUSED`."""
    judgments = Judgments(pairs.select(*JUDGMENTS))
    ranks = ranking(pairs, subject).drop_nulls("rank").sort("class_id", "rank")
    return evaluate_ranks(ranks, judgments.classes, judgments).per_class


def contrast(pairs: pl.DataFrame, one: str, other: str) -> pl.DataFrame:
    """AP of two subjects per class, greatest contrast first: class_id, one, other, change (other - one), positives."""
    joined = class_scores(pairs, one).join(class_scores(pairs, other), on="class_id", suffix="_other")
    table = joined.select(
        "class_id",
        pl.col("ap").alias("one"),
        pl.col("ap_other").alias("other"),
        (pl.col("ap_other") - pl.col("ap")).alias("change"),
        "positives",
    )
    return table.sort(pl.col("change").abs(), "class_id", descending=[True, False])


def fused_top(top: pl.DataFrame, weights: Mapping[str, float], k: float) -> pl.DataFrame:
    """The members' first segments of a class fused: rank u32, segment_id.

    `top` has member, rank, segment_id (`dashboard.logged.top`). A segment that a member ranks beyond these counts as
    not listed by it, so far down the order can differ from that of the full lists.
    """
    wide = top.pivot("member", index="segment_id", values="rank", aggregate_function="first").sort("segment_id")
    voting = sorted(member for member, weight in weights.items() if weight > 0 and member in wide.columns)
    if not voting:
        return pl.DataFrame(schema={"rank": pl.UInt32, "segment_id": pl.String})
    ranks = wide.select(pl.col(member).cast(pl.Float64).fill_null(np.inf) for member in voting).to_numpy().T
    shares = np.array([weights[member] for member in voting])
    scored = wide.select("segment_id", score=pl.Series(pair_scores(np.ascontiguousarray(ranks), shares, k)))
    ordered = scored.filter(pl.col("score") > 0).sort("score", "segment_id", descending=[True, False])
    return ordered.select(pl.int_range(1, pl.len() + 1, dtype=pl.UInt32).alias("rank"), "segment_id")


def moves(top: pl.DataFrame, pairs: pl.DataFrame, one: str, other: str, *, length: int) -> pl.DataFrame:
    """The first `length` segments of a class of either subject, in the order of the second one.

    Returns:
        segment_id, judged ("yes", "no", "unjudged"), one, other (ranks, null if beyond what is logged), moved (places
        up in `other`; null if a rank is unknown).

    Args:
        top: member, rank, segment_id of the class; with the rows of `FUSED` if it is a subject.
        pairs: The judged pairs of the class.
        one: The subject that is the base.
        other: The other subject.
        length: How many segments of each.
    """
    sides = {
        side: top.filter(pl.col("member") == subject).select("segment_id", pl.col("rank").cast(pl.Int64).alias(side))
        for side, subject in (("one", one), ("other", other))
    }
    table = sides["one"].join(sides["other"], on="segment_id", how="full", coalesce=True)
    table = with_judged(table.filter((pl.col("one") <= length) | (pl.col("other") <= length)), pairs)
    known = pairs.select(
        "segment_id", *(_rank(s).cast(pl.Int64).alias(f"known_{side}") for side, s in (("one", one), ("other", other)))
    )
    table = table.join(known, on="segment_id", how="left").with_columns(
        pl.coalesce("one", "known_one").alias("one"), pl.coalesce("other", "known_other").alias("other")
    )
    table = table.with_columns(moved=pl.col("one") - pl.col("other"))
    return table.select("segment_id", "judged", "one", "other", "moved").sort("other", "one", nulls_last=True)


def side_by_side(top: pl.DataFrame, pairs: pl.DataFrame, *, length: int) -> pl.DataFrame:
    """The first `length` segments of each subject in `top`: rank, and a column per subject: its segment with a mark.

    Marks: ✓ the class occurs, ✗ it does not, none: unjudged.
    """
    marked = with_judged(top.filter(pl.col("rank") <= length), pairs)
    text = pl.concat_str("segment_id", pl.col("judged").replace_strict({"yes": "  ✓", "no": "  ✗", "unjudged": ""}))
    wide = marked.with_columns(text=text).pivot("member", index="rank", values="text").sort("rank")
    first = [FUSED] if FUSED in wide.columns else []
    return wide.select("rank", *first, *sorted(name for name in wide.columns if name not in ("rank", FUSED)))


def with_judged(table: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """A table of segments of a class with the column `judged`: "yes", "no", "unjudged"."""
    judged = pairs.select(
        "segment_id", judged=pl.when(pl.col("relevance") > 0).then(pl.lit("yes")).otherwise(pl.lit("no"))
    )
    return table.join(judged, on="segment_id", how="left", maintain_order="left").with_columns(
        pl.col("judged").fill_null("unjudged")
    )


def of_class(pairs: pl.DataFrame, class_id: int | str) -> pl.DataFrame:
    return pairs.filter(pl.col("class_id") == class_id)


def _rank(subject: str) -> pl.Expr:
    return pl.col("rank" if subject == FUSED else f"{MEMBER_RANK}{subject}")
