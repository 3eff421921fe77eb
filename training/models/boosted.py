"""A booster over (segment, class) pairs, after the better-placed teams' trees (1st and 5th place) and the 2018 stacker.

Row = one pair; features = what neural members say of the pair and of its surroundings in the video, how the segment's
frames resemble the class's rated segments, and where the segment lies. Everything a feature says of a rated video
comes from models and class means that have not seen that video's ratings (`training.out_of_fold`).

Shapes: N segments of whole videos in any order, S scored classes, M neural members, F features.
"""

from dataclasses import dataclass

import numpy as np

OFFSETS = (-2, -1, 1, 2)  # neighbouring segments whose scores are features too


@dataclass(frozen=True)
class BoostedConfig:
    """`bases` are the neural members, already pre-trained, that are fine-tuned once for each of `folds` folds.

    A video's `candidates` classes of highest mean neural score are scored by the booster; the rest of its pairs follow
    behind all candidates in the neural order. `mined` negatives a rated segment are drawn from the scored classes
    that neither its video's labels nor its ratings name.
    """

    bases: tuple[str, ...]
    folds: int = 5
    candidates: int = 20
    mined: int = 1
    rounds: int = 300
    block: int = 25  # rounds between two checkpoints
    learning_rate: float = 0.03
    leaves: int = 15
    min_data: int = 20
    feature_fraction: float = 0.8
    bagging_fraction: float = 0.9


@dataclass(frozen=True)
class Evidence:
    """What the booster reads: `scores` (M, N, S) in 0..1, `resemblance` (N, S, R) cosines, and each segment's place.

    `video` (N,) numbers the videos, `start` and `frames` (N,) are the segment's first frame and its video's length.
    """

    scores: np.ndarray
    resemblance: np.ndarray
    video: np.ndarray
    start: np.ndarray
    frames: np.ndarray
    segment_frames: int

    @property
    def mean_scores(self) -> np.ndarray:
        return self.scores.mean(0)


def features(evidence: Evidence) -> np.ndarray:
    """The features (N, S, F) float32 of every pair; the first is the class's place, a category."""
    count, classes = evidence.scores.shape[1:]
    columns = [np.broadcast_to(np.arange(classes, dtype=np.float32), (count, classes))]
    for scores in evidence.scores:
        logits = np.log((scores + 1e-6) / (1 - scores + 1e-6)).astype(np.float32)
        columns += [logits, *_neighbours(logits, evidence), *_within_video(logits, evidence)]
        columns.append(_ranks(logits, axis=1))
    columns += list(np.moveaxis(evidence.resemblance, 2, 0))
    place = (evidence.start / evidence.frames).astype(np.float32)
    columns += [np.broadcast_to(values[:, None], (count, classes)) for values in (place, evidence.frames)]
    return np.stack(columns, axis=-1).astype(np.float32)


def feature_names(config: BoostedConfig, modalities: list[str]) -> list[str]:
    """The names of the F features, in the order of `features`."""
    neighbours = [f"score{offset:+d}" for offset in OFFSETS]
    of_scores = ["score", *neighbours, "video_max", "video_mean", "rank_in_video", "rank_in_segment"]
    neural = [f"{base}.{name}" for base in config.bases for name in of_scores]
    resembling = [f"{modality}.{kind}" for modality in modalities for kind in ("like_positives", "like_negatives")]
    return ["class", *neural, *resembling, "place", "frames"]


def candidates(evidence: Evidence, count: int) -> np.ndarray:
    """Which pairs (N, S) the booster scores: each video's `count` classes of highest mean score."""
    classes = evidence.scores.shape[2]
    if count >= classes:
        return np.ones(evidence.scores.shape[1:], dtype=bool)
    chosen = np.zeros(evidence.scores.shape[1:], dtype=bool)
    for segments in _videos(evidence):
        best = np.argsort(-evidence.mean_scores[segments].mean(0), kind="stable")[:count]
        chosen[np.ix_(segments, best)] = True
    return chosen


def _neighbours(values: np.ndarray, evidence: Evidence) -> list[np.ndarray]:
    """`values` (N, S) of the segments OFFSETS places further on in the same video; NaN beyond its ends."""
    place = evidence.start // evidence.segment_frames
    row = {key: i for i, key in enumerate(zip(evidence.video.tolist(), place.tolist(), strict=True))}
    shifted = []
    for offset in OFFSETS:
        keys = zip(evidence.video.tolist(), (place + offset).tolist(), strict=True)
        rows = np.array([row.get(key, -1) for key in keys])
        shifted.append(np.where(rows[:, None] >= 0, values[rows], np.nan))
    return shifted


def _within_video(values: np.ndarray, evidence: Evidence) -> list[np.ndarray]:
    """The maximum and mean of `values` (N, S) over the video, and the rank of each segment in it, 0 best to 1."""
    highest, mean, rank = (np.empty_like(values) for _ in range(3))
    for segments in _videos(evidence):
        inside = values[segments]
        highest[segments], mean[segments] = inside.max(0), inside.mean(0)
        rank[segments] = _ranks(inside, axis=0)
    return [highest, mean, rank]


def _ranks(values: np.ndarray, axis: int) -> np.ndarray:
    order = np.argsort(np.argsort(-values, axis=axis, kind="stable"), axis=axis, kind="stable")
    return (order / max(values.shape[axis] - 1, 1)).astype(np.float32)


def _videos(evidence: Evidence) -> list[np.ndarray]:
    """The rows of each video."""
    order = np.argsort(evidence.video, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(evidence.video[order])) + 1)
