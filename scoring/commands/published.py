"""The command published: logs the original system's published weight search as a reference.

The published log has 73 evaluations of bayes_opt over `w0` (k + 1) and the weights `w1` ... of seven members, with MAP,
seconds and parameters of each. It does not name the members.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
from tyro.conf import Positional, arg

from scoring.lists.text import reason

NEEDED = ("evaluation", "map", "seconds", "w0")


def read_published(path: Path) -> pl.DataFrame:
    """The evaluations in the form of `Search.trials`: trial, source, `weight/<w>` (share), k, map, best, seconds."""
    try:
        rows = pl.read_csv(path)
        rows = rows.filter(~pl.all_horizontal(pl.all().is_null()))  # blank lines
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} cannot be read as CSV ({reason(error)}); it has {', '.join(NEEDED)}, w1, w2, ..."
        ) from error
    weights = [name for name in rows.columns if name.startswith("w") and name != "w0"]
    missing = [name for name in NEEDED if name not in rows.columns]
    if missing or not weights or rows.is_empty():
        raise ValueError(f"{path} lacks {missing or 'weights or rows'}; it has {', '.join(NEEDED)}, w1, w2, ...")
    try:
        rows = rows.select(pl.col(*NEEDED, *weights).cast(pl.Float64))
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{path} has a value that is no number ({reason(error)}); correct it") from error
    if not rows.select(pl.all_horizontal(pl.all().is_finite().fill_null(False))).to_series().all():
        raise ValueError(f"{path} has a row with a field that is missing or infinite; correct it")
    total = pl.sum_horizontal(weights)
    if not rows.select((pl.min_horizontal(weights) >= 0) & (total > 0) & total.is_finite()).to_series().all():
        raise ValueError(f"{path} has a row whose weights are negative or sum to 0; correct it")
    if not rows["evaluation"].is_between(1, 1_000_000).all():
        raise ValueError(f"{path} has an evaluation that is not between 1 and 1,000,000; number them 1, 2, 3, ...")
    return rows.select(
        (pl.col("evaluation") - 1).cast(pl.Int32).alias("trial"),
        pl.lit("published").alias("source"),
        *((pl.col(name) / total).alias(f"weight/{name}") for name in weights),
        (pl.col("w0") - 1).alias("k"),
        "map",
        pl.Series("best", np.maximum.accumulate(rows["map"].to_numpy())),
        "seconds",
    )


def published(evaluations: Annotated[Positional[Path], arg(metavar="EVALUATIONS", help_behavior_hint="")]) -> None:
    """Log the original's published weight search as a reference run, to compare with other searches.

    Args:
        evaluations: CSV with evaluation, map, seconds, w0 (k + 1) and the weights w1, w2, ...
    """
    from scoring.tracked import figures, logs

    trials = read_published(evaluations)
    run = logs.log_published(evaluations, trials)
    best = figures.best_row(trials)
    print(
        f"best {best['map']:.5f} at evaluation {best['trial'] + 1} of {trials.height}, "
        f"{trials['seconds'].median():.0f} s an evaluation; run {run.run_id} of the experiment {run.experiment}"
    )
