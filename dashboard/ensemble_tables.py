"""The tables of the page Ensemble, from searches and their judged pairs."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from scoring.weights.cross_validation import sensitivity
from scoring.weights.objective import Objective

SHARE = "weight/"  # a column of trials, followed by a member's name
WEIGHTS = pl.Schema({"member": pl.String, "source": pl.String, "weight": pl.Float64})


def weights_beside(sources: Mapping[str, Mapping[str, float]]) -> pl.DataFrame:
    """One row per member and source of weights: member, source, weight f64 (a share of 1).

    Members are ordered by their weight in the first source, the largest first. A source has no row for a member that it
    lacks.
    """
    first = next(iter(sources.values()), {})
    members = sorted(set().union(*sources.values()), key=lambda member: (-first.get(member, -1.0), member))
    rows = [
        (member, source, weights[member])
        for member in members
        for source, weights in sources.items()
        if member in weights
    ]
    return pl.DataFrame(rows, WEIGHTS, orient="row")


def proposals(trials: pl.DataFrame) -> pl.DataFrame:
    """The trials that are no single members, in order, with `best` (highest MAP so far) among them."""
    chosen = trials.filter(pl.col("source") != "member").sort("trial")
    return chosen.with_columns(best=pl.col("map").cum_max())


def best_tenth(trials: pl.DataFrame) -> pl.DataFrame:
    """The best 10 % of the trials by MAP, at least one."""
    count = -(-trials.height // 10)
    return trials.sort("map", descending=True, maintain_order=True).head(count)


def members_of(trials: pl.DataFrame) -> list[str]:
    """The members in the columns of trials, by name."""
    return sorted(name.removeprefix(SHARE) for name in trials.columns if name.startswith(SHARE))


def along_weights(objective: Objective, weights: Mapping[str, float], k: float) -> pl.DataFrame:
    """MAP along each weight: member, share (of that member, 0 to 1; the others keep their ratios), map (f64)."""
    curves = sensitivity(objective, weights, k=k)
    return pl.DataFrame(
        [(member, share, value) for member, curve in curves.items() for share, value in zip(*curve, strict=True)],
        {"member": pl.String, "share": pl.Float64, "map": pl.Float64},
        orient="row",
    )


def parallel_coordinates(trials: pl.DataFrame, colours: Sequence[str], *, dark: bool) -> dict[str, object]:
    """The ECharts option of a parallel-coordinates chart of trials: an axis per weight, then k (log10) and MAP.

    Lines go from the first colour (lowest MAP) to the last (highest).
    """
    members = members_of(trials)
    rows = trials.sort("map").select(
        *(pl.col(f"{SHARE}{member}").round(4) for member in members),
        pl.col("k").log10().round(3),
        pl.col("map").round(5),
    )
    values = rows["map"]
    low, high = float(np.min(values.to_numpy())), float(np.max(values.to_numpy()))
    names = [*members, "log10 k", "MAP"]
    ink = "#CCCCCC" if dark else "#444444"
    axes = [
        {
            "dim": number,
            "name": name if len(name) <= 26 else f"{name[:25]}…",
            "nameTextStyle": {"color": ink},
            "axisLabel": {"color": ink},
            "scale": name == "MAP",
            **({"min": 0} if name in members else {}),
        }
        for number, name in enumerate(names)
    ]
    return {
        "parallelAxis": axes,
        "parallel": {
            "left": 60,
            "right": 110,
            "top": 80,
            "bottom": 60,
            "parallelAxisDefault": {"nameRotate": 28, "nameGap": 14, "nameLocation": "end"},
        },
        "visualMap": {
            "type": "continuous",
            "dimension": len(names) - 1,
            "min": low,
            "max": high if high > low else low + 1e-6,
            "precision": 4,
            "orient": "horizontal",
            "left": "center",
            "bottom": 0,
            "text": ["higher MAP", "lower"],
            "textStyle": {"color": ink},
            "inRange": {"color": list(colours)},
        },
        "series": [
            {
                "type": "parallel",
                "lineStyle": {"width": 1.5, "opacity": 0.6},
                "data": [list(row) for row in rows.rows()],
            }
        ],
    }


def upright_if_narrow(option: Mapping[str, object], *, axes: int) -> dict[str, object]:
    """The chart with its `axes` below each other, instead of side by side, on a screen too narrow for their names."""
    upright = {
        "parallel": {"layout": "vertical", "left": 150, "right": 30, "top": 20},
        "parallelAxis": [{"nameRotate": 0, "nameLocation": "start", "nameGap": 10, "splitNumber": 3}] * axes,
    }
    return {"baseOption": dict(option), "media": [{"query": {"maxWidth": 600}, "option": upright}]}
