"""A booster over (segment, class) pairs, after the better-placed teams' trees (1st and 5th place) and the 2018 stacker.

Features of a pair: the neural members' scores of the class on this and neighbouring segments, the similarity of the
segment's frames to the class's rated segments, and the segment's position. All features of a rated video come from
models and class means that have not seen that video's ratings (`training.boosted.folds`).

Shapes: N segments of whole videos in any order, S scored classes, M neural members, P pairs, F features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from training.limits import Count, Natural, Positive, PositiveShare, Two
from training.models.architecture import Architecture

OFFSETS = (-2, -1, 1, 2)  # neighbouring segments whose scores are features too


@dataclass(frozen=True)
class BoostedConfig(Architecture):
    """`bases` are the neural members, already pre-trained, that are fine-tuned once for each of `folds` folds.

    The booster scores the `candidates` classes of a video with the highest mean neural score; all other pairs are
    ranked below the candidates, by mean neural score. Per rated segment, `mined` negatives are drawn from the scored
    classes that are neither in its video's labels nor in its ratings.
    """

    framework: ClassVar[str] = "lightgbm"
    pretrains: ClassVar[bool] = False
    layout: ClassVar[int | None] = 2  # in the first, the class was a feature

    bases: tuple[str, ...]
    folds: Two = 5
    candidates: Count = 20
    mined: Natural = 1
    rounds: Count = 100
    block: Count = 10  # rounds between two checkpoints
    learning_rate: Positive = 0.03
    leaves: Two = 15
    min_data: Natural = 20
    feature_fraction: PositiveShare = 0.8
    bagging_fraction: PositiveShare = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.bases or len(set(self.bases)) < len(self.bases):
            raise ValueError(f"BoostedConfig: bases are {self.bases}; name at least one member, each once")

    @property
    def builds_on(self) -> tuple[str, ...]:
        return self.bases


@dataclass(frozen=True)
class Evidence:
    """Inputs of the booster's features: `scores` (M, N, S) in 0..1, and the cosine similarities of pairs, which
    `resemblance` computes: (rows (P,), columns of classes (P,)) -> (R, P).

    `video` (N,) numbers the videos, `start` and `frames` (N,) are the segment's first frame and its video's length.
    """

    scores: np.ndarray
    resemblance: Callable[[np.ndarray, np.ndarray], np.ndarray]
    video: np.ndarray
    start: np.ndarray
    frames: np.ndarray
    segment_frames: int

    @property
    def mean_scores(self) -> np.ndarray:
        return self.scores.mean(0)


def features(evidence: Evidence, rows: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Features (P, F) float32 of pairs: segments `rows` (P,) and columns of scored classes `classes` (P,).

    The class itself is no feature: trees then learn how often each class is rated relevant, which ranks no segment
    within its class, and overfit. Only these pairs are computed, since there are about a thousand classes and few
    candidates per video.
    """
    columns: list[np.ndarray] = []
    neighbours = _neighbours(evidence)[:, rows]
    for scores in evidence.scores:
        logits = np.log((scores + 1e-6) / (1 - scores + 1e-6)).astype(np.float32)
        columns.append(logits[rows, classes])
        columns += [np.where(other >= 0, logits[other, classes], np.float32(np.nan)) for other in neighbours]
        columns += _within_video(logits, evidence, rows, classes)
        distinct, index = np.unique(rows, return_inverse=True)
        columns.append(_ranks(logits[distinct], axis=1)[index, classes])
    columns += list(evidence.resemblance(rows, classes))
    columns += [evidence.start[rows] / evidence.frames[rows], evidence.frames[rows]]
    return np.stack([column.astype(np.float32) for column in columns], axis=-1)


def feature_names(config: BoostedConfig, modalities: list[str]) -> list[str]:
    """The names of the F features, in the order of `features`."""
    neighbours = [f"score{offset:+d}" for offset in OFFSETS]
    per_base = ["score", *neighbours, "video_max", "video_mean", "rank_in_video", "rank_in_segment"]
    neural = [f"{base}.{name}" for base in config.bases for name in per_base]
    resembling = [f"{modality}.{kind}" for modality in modalities for kind in ("like_positives", "like_negatives")]
    return [*neural, *resembling, "place", "frames"]


def candidates(evidence: Evidence, count: int) -> np.ndarray:
    """Which pairs (N, S) the booster scores: each video's `count` classes of highest mean score."""
    scores = evidence.mean_scores
    if count >= scores.shape[1]:
        return np.ones(scores.shape, dtype=bool)
    chosen = np.zeros(scores.shape, dtype=bool)
    for segments in rows_by_number(evidence.video).values():
        best = np.argsort(-scores[segments].mean(0), kind="stable")[:count]
        chosen[np.ix_(segments, best)] = True
    return chosen


def _neighbours(evidence: Evidence) -> np.ndarray:
    """Rows (4, N) of the segments OFFSETS positions later in the same video; -1 beyond its ends."""
    position = evidence.start // evidence.segment_frames
    # The keys of two videos are so far apart that a key beyond the end of one is no key of the next.
    key = evidence.video * (position.max() + max(OFFSETS) + 1) + position
    order = np.argsort(key)
    ordered = key[order]
    wanted = key + np.array(OFFSETS)[:, None]
    nearest = np.minimum(np.searchsorted(ordered, wanted), len(key) - 1)
    return np.where(ordered[nearest] == wanted, order[nearest], -1)


def _within_video(logits: np.ndarray, evidence: Evidence, rows: np.ndarray, classes: np.ndarray) -> list[np.ndarray]:
    """Per pair (P,): maximum and mean of its class's `logits` (N, S) over the video, and its rank there (0 to 1)."""
    highest, mean, rank = (np.empty(len(rows), dtype=np.float32) for _ in range(3))
    video_segments = rows_by_number(evidence.video)
    for video, pairs in rows_by_number(evidence.video[rows]).items():
        segments = video_segments[video]
        inside = logits[segments]
        highest[pairs], mean[pairs] = inside.max(0)[classes[pairs]], inside.mean(0)[classes[pairs]]
        distinct, index = np.unique(classes[pairs], return_inverse=True)
        rank[pairs] = _ranks(inside[:, distinct], axis=0)[np.searchsorted(segments, rows[pairs]), index]
    return [highest, mean, rank]


def _ranks(values: np.ndarray, axis: int) -> np.ndarray:
    """Rank of each value along an axis, scaled to 0 (highest) .. 1; equal values keep their order."""
    order = np.argsort(-values, axis=axis, kind="stable")
    positions = np.expand_dims(np.arange(values.shape[axis]), 1 - axis)
    ranks = np.empty(values.shape, dtype=np.float32)
    np.put_along_axis(ranks, order, (positions / max(values.shape[axis] - 1, 1)).astype(np.float32), axis)
    return ranks


def rows_by_number(numbers: np.ndarray) -> dict[int, np.ndarray]:
    """The indices of each distinct value of `numbers` (N,), ascending."""
    order = np.argsort(numbers, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
    return {int(numbers[part[0]]): part for part in parts if len(part)}
