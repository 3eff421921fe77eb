"""Rank scores: best first, equal scores by ascending segment id."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from scoring.lists.ids import check_segments
from scoring.lists.ranked import K, Submission, from_codes, with_scores


def rank_within_class(scores: np.ndarray, k: int, codes: np.ndarray | None = None) -> np.ndarray:
    """Positions of the k best of `scores` (one class), best first; equal scores by ascending code.

    Args:
        codes: The code of each score, each once. Default: its position.
    """
    kept = None
    if len(scores) > k:
        last = np.partition(scores, len(scores) - k)[len(scores) - k] if k else np.inf
        better = scores > last
        level = np.flatnonzero(scores == last)
        first = np.argsort(level if codes is None else codes[level])
        better[level[first][: k - np.count_nonzero(better)]] = True
        kept = np.flatnonzero(better)
        scores, codes = scores[kept], kept if codes is None else codes[kept]
    order = _falling(scores, np.arange(len(scores)) if codes is None else codes)
    return order if kept is None else kept[order]


def _falling(scores: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The order of falling scores; equal scores by ascending code.

    An unstable sort is several times faster, and equal scores are few: they are put in order afterwards.
    """
    order = np.argsort(-scores)
    ordered = scores[order]
    level = np.concatenate([ordered[1:] == ordered[:-1], [False]])
    level[1:] |= level[:-1]  # every place of a run of equal scores
    tied = np.flatnonzero(level)
    run = np.concatenate([[0], np.cumsum(ordered[tied][1:] != ordered[tied][:-1])])[: len(tied)]
    order[tied] = order[tied][np.lexsort((codes[order[tied]], run))]
    return order


def rank_scores(scores: np.ndarray, class_ids: Sequence[int], segments: pl.Series, k: int = K) -> Submission:
    """Predictions: the k best segments of each class with their scores, best first; equal scores by ascending id.

    Args:
        scores: (segments, classes) float32, rows in the order of `segments`, columns in the order of `class_ids`.
        segments: ids sorted as UTF-8 bytes.
    """
    if scores.shape != (len(segments), len(class_ids)):
        raise ValueError(f"scores are {scores.shape}, but there are {len(segments)} segments, {len(class_ids)} classes")
    if np.isnan(scores).any():
        raise ValueError("scores hold NaN; a model that predicts NaN cannot be ranked, train it again")
    check_segments(segments, "the table of segments")
    ranked = {class_id: rank_within_class(scores[:, column], k) for column, class_id in enumerate(class_ids)}
    submission = from_codes(ranked, segments)
    column_of = {class_id: column for column, class_id in enumerate(class_ids)}
    return with_scores(submission, [scores[ranked[c], column_of[c]] for c in submission.classes])
