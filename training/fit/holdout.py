"""MAP on the holdout, by which checkpoints are chosen."""

import numpy as np
import polars as pl

from scoring.lists.ranking import rank_scores
from scoring.measures.average_precision import mean_average_precision
from training.fit.loop import GradientEstimator
from training.windows.sampler import Sampler
from training.windows.segments import SegmentWindows
from videos.segments import segments_of
from videos.store import FrameStore


class Holdout:
    """MAP@100K on the rated segments of the holdout, without a shift."""

    def __init__(self, store: FrameStore, sampler: Sampler):
        videos = store.split("holdout")
        segments = segments_of(videos, store.dataset)
        self._judgments = store.judged(segments)
        judged = segments.join(self._judgments, on="segment_id", how="semi", maintain_order="left")
        self._segments: pl.Series = judged["segment_id"]
        self._windows = SegmentWindows(store, judged, sampler)
        self._columns = np.asarray(store.dataset.scored_classes, dtype=np.int64)

    def score(self, estimator: GradientEstimator) -> float | None:
        """MAP with the current weights; None if nothing in the holdout is positive."""
        if not (self._judgments["relevance"] > 0).any():
            return None
        predictor = estimator.predictor(self._columns)
        scores = np.concatenate([predictor(windows) for windows in self._windows.blocks(shift=0)])
        ranked = rank_scores(scores, self._columns.tolist(), self._segments)
        return mean_average_precision(ranked, self._judgments).map
