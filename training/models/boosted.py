"""A booster over (segment, class) pairs, after the better-placed teams' trees (1st and 5th place) and the 2018 stacker.

Row = one pair; features = what neural members say of the pair and of its surroundings in the video, how the segment's
frames resemble the class's rated segments, and where the segment lies. Everything a feature says of a rated video
comes from models and class means that have not seen that video's ratings (`training.boosted.folds`).

Shapes: N segments of whole videos in any order, S scored classes, M neural members, P pairs, F features.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from training.limits import above, at_least, at_most
from training.models.architecture import Architecture

OFFSETS = (-2, -1, 1, 2)  # neighbouring segments whose scores are features too


@dataclass(frozen=True)
class BoostedConfig(Architecture):
    """`bases` are the neural members, already pre-trained, that are fine-tuned once for each of `folds` folds.

    A video's `candidates` classes of highest mean neural score are scored by the booster; the rest of its pairs follow
    behind all candidates in the neural order. `mined` negatives a rated segment are drawn from the scored classes
    that neither its video's labels nor its ratings name.
    """

    framework: ClassVar[str] = "lightgbm"
    pretrains: ClassVar[bool] = False

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

    def __post_init__(self) -> None:
        if not self.bases or len(set(self.bases)) < len(self.bases):
            raise ValueError(f"BoostedConfig: bases are {self.bases}; name at least one member, each once")
        at_least(self, 2, folds=self.folds, leaves=self.leaves)
        at_least(self, 1, candidates=self.candidates, rounds=self.rounds, block=self.block)
        at_least(self, 0, mined=self.mined, min_data=self.min_data)
        fractions = {"feature_fraction": self.feature_fraction, "bagging_fraction": self.bagging_fraction}
        above(self, 0, learning_rate=self.learning_rate, **fractions)
        at_most(self, 1, **fractions)

    @property
    def builds_on(self) -> tuple[str, ...]:
        return self.bases


@dataclass(frozen=True)
class Evidence:
    """What the booster reads: `scores` (M, N, S) in 0..1, `resemblance` (R, N, S) cosines, and each segment's place.

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


def features(evidence: Evidence, rows: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The features (P, F) float32 of the pairs of a segment `rows` (P,) and the place of a scored class `classes` (P,).

    The first is the class's place, a category. Only what these pairs need is computed: there are a thousand classes,
    and a video is a candidate for few of them.
    """
    columns: list[np.ndarray] = [classes]
    neighbours = _neighbours(evidence)[:, rows]
    for scores in evidence.scores:
        logits = np.log((scores + 1e-6) / (1 - scores + 1e-6)).astype(np.float32)
        columns.append(logits[rows, classes])
        columns += [np.where(beside >= 0, logits[beside, classes], np.float32(np.nan)) for beside in neighbours]
        columns += _within_video(logits, evidence, rows, classes)
        asked, place = np.unique(rows, return_inverse=True)
        columns.append(_ranks(logits[asked], axis=1)[place, classes])
    columns += list(evidence.resemblance[:, rows, classes])
    columns += [evidence.start[rows] / evidence.frames[rows], evidence.frames[rows]]
    return np.stack([column.astype(np.float32) for column in columns], axis=-1)


def feature_names(config: BoostedConfig, modalities: list[str]) -> list[str]:
    """The names of the F features, in the order of `features`."""
    neighbours = [f"score{offset:+d}" for offset in OFFSETS]
    of_scores = ["score", *neighbours, "video_max", "video_mean", "rank_in_video", "rank_in_segment"]
    neural = [f"{base}.{name}" for base in config.bases for name in of_scores]
    resembling = [f"{modality}.{kind}" for modality in modalities for kind in ("like_positives", "like_negatives")]
    return ["class", *neural, *resembling, "place", "frames"]


def candidates(evidence: Evidence, count: int) -> np.ndarray:
    """Which pairs (N, S) the booster scores: each video's `count` classes of highest mean score."""
    scores = evidence.mean_scores
    if count >= scores.shape[1]:
        return np.ones(scores.shape, dtype=bool)
    chosen = np.zeros(scores.shape, dtype=bool)
    for segments in _places(evidence.video).values():
        best = np.argsort(-scores[segments].mean(0), kind="stable")[:count]
        chosen[np.ix_(segments, best)] = True
    return chosen


def _neighbours(evidence: Evidence) -> np.ndarray:
    """The rows (4, N) of the segments OFFSETS places further on in the same video; -1 beyond its ends."""
    place = evidence.start // evidence.segment_frames
    # Videos lie so far apart that a place beyond the end of one is no place of another.
    key = evidence.video * (place.max() + max(OFFSETS) + 1) + place
    order = np.argsort(key)
    ordered = key[order]
    wanted = key + np.array(OFFSETS)[:, None]
    found = np.minimum(np.searchsorted(ordered, wanted), len(key) - 1)
    return np.where(ordered[found] == wanted, order[found], -1)


def _within_video(logits: np.ndarray, evidence: Evidence, rows: np.ndarray, classes: np.ndarray) -> list[np.ndarray]:
    """Of each pair: the maximum and mean of `logits` (N, S) over the video, and its segment's rank there, 0 best to 1.

    Each (P,).
    """
    highest, mean, rank = (np.empty(len(rows), dtype=np.float32) for _ in range(3))
    segments_of = _places(evidence.video)
    for video, pairs in _places(evidence.video[rows]).items():
        segments = segments_of[video]
        inside = logits[segments]
        highest[pairs], mean[pairs] = inside.max(0)[classes[pairs]], inside.mean(0)[classes[pairs]]
        asked, column = np.unique(classes[pairs], return_inverse=True)
        rank[pairs] = _ranks(inside[:, asked], axis=0)[np.searchsorted(segments, rows[pairs]), column]
    return [highest, mean, rank]


def _ranks(values: np.ndarray, axis: int) -> np.ndarray:
    """The rank of each value along an axis, from 0 for the highest to 1; equal ones in their order."""
    order = np.argsort(-values, axis=axis, kind="stable")
    places = np.expand_dims(np.arange(values.shape[axis]), 1 - axis)
    ranks = np.empty(values.shape, dtype=np.float32)
    np.put_along_axis(ranks, order, (places / max(values.shape[axis] - 1, 1)).astype(np.float32), axis)
    return ranks


def _places(numbers: np.ndarray) -> dict[int, np.ndarray]:
    """Where each number stands in `numbers` (N,), ascending."""
    order = np.argsort(numbers, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
    return {int(numbers[part[0]]): part for part in parts if len(part)}
