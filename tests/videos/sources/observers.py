"""Linear observers of generated videos: what each stage of a line-up can gain there, without training a network.

An observer scores a class by a ridge regression on the mean frame of a window, as a member does by a network.
Shapes: V videos, N segments, W windows to learn from, D features, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from videos.sources.synthetic import MODALITIES, Scene, make_scene, make_world
from videos.sources.yt8m import SEGMENT_FRAMES

CLASSES = 25
SHIFTS = (-2, -1, 0, 1, 2)
RIDGE = 3.0
SHIFTS_K, MEMBERS_K = 2.7, 60.0  # of reciprocal-rank fusion


@dataclass(frozen=True)
class Maps:
    """MAP of observers on held-out videos."""

    labels: float  # learned from video-level labels
    ratings: float  # learned from ratings of segments
    merged: float  # the same, its shifts merged
    visual: float  # of the first modality only, its shifts merged
    audible: float  # of the second
    fused: float  # the two fused
    equal: float  # all three fused, with equal weights
    weighted: float  # with most of the weight on the best


def observe(seed: int, videos: int = 600) -> Maps:
    """Learn from half of `videos` videos of the world of `seed`, measure on the other half."""
    world = make_world(CLASSES, seed)
    scenes = [make_scene(world, number, is_rated=True) for number in range(videos)]
    learned, held_out = scenes[: videos // 2], scenes[videos // 2 :]
    frames = [_frames(scene) for scene in held_out]
    starts = [
        (video, start)
        for video, rows in enumerate(frames)
        for start in range(SEGMENT_FRAMES, len(rows) - 2 * SEGMENT_FRAMES + 1, SEGMENT_FRAMES)
    ]
    windows = {
        shift: np.array([frames[video][start - shift :][:SEGMENT_FRAMES].mean(0) for video, start in starts])
        for shift in SHIFTS
    }
    row = {key: number for number, key in enumerate(starts)}
    rated = [(row[n, start], c, r) for n, scene in enumerate(held_out) for start, c, r in scene.ratings]
    judged = np.array(rated, dtype=np.int64)

    def merged(weights: np.ndarray) -> np.ndarray:
        return _fuse([windows[shift] @ weights for shift in SHIFTS], SHIFTS_K)

    features, labels, mask = _rated_windows(learned)
    by_labels = _ridge(*_labelled_windows(learned, seed))
    by_ratings = _ridge(features, labels, mask)
    first = np.arange(features.shape[1]) < next(iter(MODALITIES.values()))
    alone = [merged(_ridge(features * part, labels, mask)) for part in (first, ~first)]
    both = merged(by_ratings)
    return Maps(
        labels=_map(windows[0] @ by_labels, judged),
        ratings=_map(windows[0] @ by_ratings, judged),
        merged=_map(both, judged),
        visual=_map(alone[0], judged),
        audible=_map(alone[1], judged),
        fused=_map(_fuse(alone, MEMBERS_K), judged),
        equal=_map(_fuse([both, *alone], MEMBERS_K), judged),
        weighted=_map(_fuse([both, *alone], MEMBERS_K, [0.8, 0.1, 0.1]), judged),
    )


def _frames(scene: Scene) -> np.ndarray:
    """Normalised frames (frames, D), as members see them."""
    frames = np.hstack(list(scene.features.values())) * (4 / 255) + (4 / 512 - 2)
    return frames / np.linalg.norm(frames, axis=1, keepdims=True)


def _labelled_windows(scenes: Sequence[Scene], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Six random windows (W, D) of each video with its labels (W, C); all count."""
    rng = np.random.default_rng(seed)
    features, labels = [], []
    for scene in scenes:
        frames = _frames(scene)
        for start in rng.integers(0, len(frames) - SEGMENT_FRAMES, 6):
            features.append(frames[start : start + SEGMENT_FRAMES].mean(0))
            labels.append(np.isin(np.arange(CLASSES), scene.labels))
    return np.array(features), np.array(labels), np.ones((len(labels), CLASSES), dtype=bool)


def _rated_windows(scenes: Sequence[Scene]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rated segments (W, D), relevance (W, C), and which pairs count (W, C): rated ones, and unlabelled classes."""
    features, labels, mask = [], [], []
    for scene in scenes:
        frames = _frames(scene)
        for start in sorted({start for start, _, _ in scene.ratings}):
            relevance = {class_id: value for first, class_id, value in scene.ratings if first == start}
            features.append(frames[start : start + SEGMENT_FRAMES].mean(0))
            labels.append([relevance.get(class_id, 0) for class_id in range(CLASSES)])
            mask.append([class_id in relevance or class_id not in scene.labels for class_id in range(CLASSES)])
    return np.array(features), np.array(labels), np.array(mask)


def _ridge(features: np.ndarray, labels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Weights (D, C) of each class, fitted to the windows where `mask` (W, C) is set; without an intercept."""
    weights = np.zeros((features.shape[1], labels.shape[1]))
    penalty = RIDGE / features.shape[1] * np.eye(features.shape[1])
    for class_id in range(labels.shape[1]):
        own = features[mask[:, class_id]]
        target = labels[mask[:, class_id], class_id]
        centred = own - own.mean(0)
        weights[:, class_id] = np.linalg.solve(centred.T @ centred + penalty, centred.T @ (target - target.mean()))
    return weights


def _fuse(scores: Sequence[np.ndarray], k: float, weights: Sequence[float] | None = None) -> np.ndarray:
    """Reciprocal-rank fusion of scores (N, C), as scores (N, C)."""
    ranks = [(-part).argsort(axis=0, kind="stable").argsort(axis=0) + 1 for part in scores]
    votes = [weight / (k + rank) for weight, rank in zip(weights or [1.0] * len(ranks), ranks, strict=True)]
    return np.sum(votes, axis=0)


def _map(scores: np.ndarray, judged: np.ndarray) -> float:
    """Mean over classes of the average precision of the judged pairs (row, class, relevance)."""
    precisions = []
    for class_id in np.unique(judged[:, 1]):
        rows, _, relevance = judged[judged[:, 1] == class_id].T
        ordered = relevance[np.argsort(-scores[rows, class_id], kind="stable")]
        if ordered.any():
            hits = ordered.cumsum() / np.arange(1, len(ordered) + 1)
            precisions.append(hits[ordered == 1].mean())
    return float(np.mean(precisions))
