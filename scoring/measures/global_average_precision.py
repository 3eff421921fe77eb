"""Global average precision at 20 (GAP@20), YouTube-8M's measure of video-level predictions.

The best 20 classes of every video are pooled and sorted by confidence. Precision is summed at the positives and divided
by the number of all labels of the videos, also labels that are not among the 20 of their video: the definition of the
starter code (`calculate_gap` in `eval_util.py` of github.com/google/youtube-8m). So GAP is the AP of one list, whose
items are pairs of a video and a class, and its intervals come from the same bootstrap over videos as those of MAP.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from scoring.lists.ranking import rank_within_class
from scoring.measures.average_precision import evaluate_ranks
from videos.judgments import Judgments
from videos.segments import segment_ids

PREDICTIONS = 20  # per video
POOL = 0  # the class id of the one list


@dataclass(frozen=True)
class Pool:
    """The pooled list: what `evaluate_ranks` and `Bootstrap.measure` take, and the judgments to make a Bootstrap of.

    An item's id is `<video_id>:<class>`, so the videos are the units of the bootstrap. Judged are the pooled items and
    the labels that are not among them.
    """

    ranks: pl.DataFrame
    present: pl.Series
    judgments: Judgments


def pooled(scores: np.ndarray, labels: np.ndarray, video_ids: pl.Series, *, predictions: int = PREDICTIONS) -> Pool:
    """The list of GAP@20, best first.

    Equal confidences are ordered by video id and class, where the starter code shuffles them, so the result does not
    depend on the order of the videos.

    Args:
        scores: Confidences (V, C).
        labels: True (V, C) for the labels of a video.
        video_ids: V distinct ids.
        predictions: Number of classes of each video that are pooled.

    Raises:
        ValueError: the shapes differ, a score is NaN, or no video has a label.
    """
    if not scores.shape == labels.shape == (len(video_ids), scores.shape[-1]):
        raise ValueError(
            f"scores are {scores.shape}, labels {labels.shape}; both need a row per video ({len(video_ids)})"
        )
    if np.isnan(scores).any():
        raise ValueError("scores contain NaN; a model that predicts NaN cannot be ranked, train it again")
    best = np.stack([rank_within_class(row, predictions) for row in scores])
    is_pooled = np.zeros(labels.shape, dtype=bool)
    np.put_along_axis(is_pooled, best, True, axis=1)
    videos, classes = np.nonzero(is_pooled | labels)
    items = pl.DataFrame(
        {
            "video": video_ids.gather(videos),
            "class": pl.Series(classes, dtype=pl.UInt16),
            "score": scores[videos, classes],
            "relevance": labels[videos, classes].astype(np.int16),
            "pooled": is_pooled[videos, classes],
        }
    )
    items = items.sort("score", "video", "class", descending=[True, False, False])
    items = items.with_columns(class_id=pl.lit(POOL, dtype=pl.UInt16), segment_id=segment_ids("video", "class"))
    ranks = items.filter("pooled").select(
        "class_id", "segment_id", "relevance", rank=pl.int_range(1, pl.len() + 1, dtype=pl.UInt32)
    )
    return Pool(ranks, pl.Series("class_id", [POOL], dtype=pl.UInt16), Judgments(items))


def global_average_precision(
    scores: np.ndarray, labels: np.ndarray, video_ids: pl.Series, *, predictions: int = PREDICTIONS
) -> float:
    """GAP@20; arguments and errors as for `pooled`."""
    pool = pooled(scores, labels, video_ids, predictions=predictions)
    return evaluate_ranks(pool.ranks, pool.present, pool.judgments).map
