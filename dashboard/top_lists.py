"""The first segments of a class in every member's list on the holdout, and fused."""

import polars as pl

from dashboard import contrast, logged
from dashboard.data import LineUp, finished
from tracking import metrics


def first_segments(line_up: LineUp, class_id: int | str) -> pl.DataFrame | str:
    """member (or `contrast.FUSED`), rank, segment_id of a class; a sentence with the reason if there are none."""
    ensemble = line_up.ensemble
    merged = finished(ensemble.stages, "merge", "holdout") if ensemble else None
    if ensemble is None or merged is None:
        return "The shifts of the members have not been merged on the holdout yet, so there are no lists to show."
    try:
        top = logged.top(merged, class_id)
    except (ValueError, OSError, pl.exceptions.PolarsError) as problem:
        return f"The lists cannot be shown: {problem}."
    fused = contrast.fused_top(top, ensemble.weights, ensemble.score(metrics.K) or 0.0)
    return pl.concat([top, fused.select(pl.lit(contrast.FUSED).alias("member"), "rank", "segment_id")])
