"""Rank scores: best first, equal scores by ascending segment id."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from scoring.lists.ids import check_segments
from scoring.lists.kernels import best_first
from scoring.lists.ranked import K, Submission, from_codes, with_scores


def rank_within_class(scores: np.ndarray, cutoff: int) -> np.ndarray:
    """Positions (u32) of the `cutoff` best of `scores` (one class), best first; equal scores in the order given."""
    return best_first(np.ascontiguousarray(scores, dtype=np.float64), cutoff)


def rank_scores(scores: np.ndarray, class_ids: Sequence[int], segments: pl.Series, cutoff: int = K) -> Submission:
    """Predictions: per class the `cutoff` best segments with their scores, best first; equal scores by ascending id.

    Args:
        scores: (segments, classes) float32, rows in the order of `segments`, columns in the order of `class_ids`.
        segments: ids sorted as UTF-8 bytes.
    """
    if scores.shape != (len(segments), len(class_ids)):
        raise ValueError(f"scores are {scores.shape}, but there are {len(segments)} segments, {len(class_ids)} classes")
    if np.isnan(scores).any():
        raise ValueError("scores contain NaN; a model that predicts NaN cannot be ranked, train it again")
    check_segments(segments, "the table of segments")
    columns = {class_id: scores[:, column] for column, class_id in enumerate(class_ids)}
    ranked = {class_id: rank_within_class(column, cutoff) for class_id, column in columns.items()}
    submission = from_codes(ranked, segments)
    return with_scores(submission, [columns[c][ranked[c]] for c in submission.classes])
