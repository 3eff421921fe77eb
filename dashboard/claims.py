"""The paper's three claims beside what a line-up shows of them, and its table of members beside ours."""

from collections.abc import Iterator

import polars as pl

from dashboard.data import LineUp, published_weights
from scoring import paper
from tracking import metrics

PAPER, HERE = "the paper", "here"
CLAIMS = {
    "Fine-tuning on rated segments beats pre-training alone": paper.TRANSFER,
    "Merging shifted windows beats the unshifted one": paper.SHIFTS,
    "The ensemble beats its best member": {"the nine members": paper.ENSEMBLE},
}
ROWS = pl.Schema(
    {
        "claim": pl.String,
        "where": pl.String,
        "subject": pl.String,
        "before": pl.Float64,
        "after": pl.Float64,
        "gain": pl.Float64,
    }
)
MEMBERS = pl.Schema(
    {
        "member": pl.String,
        "paper_name": pl.String,
        "published": pl.Float64,
        "map": pl.Float64,
        "published_weight": pl.Float64,
        "weight": pl.Float64,
    }
)

TITLES = {
    "member": "Member",
    "paper_name": "In the paper",
    "published": f"MAP in the paper ({paper.DATA})",
    "map": "MAP here (holdout)",
    "published_weight": "Weight in the paper",
    "weight": "Weight here",
}


def about(dataset: str) -> str:
    """What the figures can be compared for."""
    return (
        f"The paper's figures are private MAP@100K on {paper.DATA}; ours are MAP@100K on the holdout of {dataset}, "
        "another dataset: compare directions and orders, not values. Ours are of one seed, without intervals: a small "
        "gain can be chance."
    )


def has_published(line_up: LineUp) -> bool:
    return any(member.published is not None for member in line_up.members)


def claims(line_up: LineUp) -> pl.DataFrame:
    """One row per claim and measurement: claim, where (`PAPER` or `HERE`), subject, before, after, gain (all MAP@100K).

    Ours are on the holdout; the ensemble's are cross-validated. A measurement that is missing has no row.
    """
    rows = []
    for (claim, theirs), ours in zip(
        CLAIMS.items(), (_finetuned(line_up), _merged(line_up), _fused(line_up)), strict=True
    ):
        rows += [(claim, PAPER, subject, *values) for subject, values in theirs.items()]
        rows += [(claim, HERE, subject, *values) for subject, *values in ours]
    rows = [(*row, row[4] - row[3]) for row in rows]
    return pl.DataFrame(rows, ROWS, orient="row")


def verdicts(table: pl.DataFrame) -> dict[str, tuple[int, int]]:
    """Claim -> how many of our measurements agree with it, and how many there are."""
    ours = table.filter(pl.col("where") == HERE)
    return {
        claim: (rows.filter(pl.col("gain") > 0).height, rows.height)
        for claim in CLAIMS
        for rows in [ours.filter(pl.col("claim") == claim)]
    }


def members(line_up: LineUp) -> pl.DataFrame:
    """The members that the paper has, best there first: the columns of `MEMBERS`.

    Weights are shares of 1, the published ones among the nine members; MAP is ours on the holdout, all shifts merged.
    """
    weights = published_weights(line_up)
    rows = [
        (member.name, member.paper_name, member.published, member.best, weights.get(member.name), member.weight)
        for member in line_up.members
        if member.published is not None
    ]
    return pl.DataFrame(rows, MEMBERS, orient="row").sort("published", "member", descending=[True, False])


def _finetuned(line_up: LineUp) -> Iterator[tuple[str, float, float]]:
    for member in line_up.members:
        if member.pretrained is not None and member.finetuned is not None:
            yield member.name, member.pretrained, member.finetuned


def _merged(line_up: LineUp) -> Iterator[tuple[str, float, float]]:
    for member in line_up.members:
        if member.merged is not None and 0 in member.shifts and len(member.shifts) > 1:
            yield member.name, member.shifts[0], member.merged


def _fused(line_up: LineUp) -> Iterator[tuple[str, float, float]]:
    if line_up.ensemble is not None:
        best = line_up.ensemble.score(metrics.cross_validated(metrics.BEST_MEMBER))
        fused = line_up.ensemble.score(metrics.cross_validated(metrics.ENSEMBLE))
        if best is not None and fused is not None:
            yield "the ensemble, cross-validated", best, fused
