"""Trees on the labels of a video's nearest neighbours: the LightGBM model of `benchmarks.video_level`.

One booster for all classes learns from pairs of a video and one of its candidate classes, which are the classes that
its neighbours vote for. The evidence on a video never includes the video itself, so the pairs of the training videos
are like those of unseen ones.

Shapes: N training videos, Q queried videos, C classes, D features of a video, P pairs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

NEIGHBOURS, CANDIDATES = 50, 40
SHARPNESS = 10.0  # a neighbour's vote is exp(SHARPNESS * cosine)
QUERIES = 256  # answered at a time
EVIDENCE = ("vote", "similarity")  # per modality, and for the mean of the modalities' cosines
BOTH = "both"


@dataclass(frozen=True)
class Candidates:
    """P pairs: `features` (P, F), and the `rows` (P,) of the queried videos and `classes` (P,) that they are of.

    `similarity` (Q, C) is the mean cosine with the training videos of each class, 0 for a class without any.
    """

    features: np.ndarray
    rows: np.ndarray
    classes: np.ndarray
    similarity: np.ndarray


class Neighbours:
    """The training videos: mean vectors (N, D) f32 of modalities of the given widths, and labels (N, C)."""

    def __init__(self, vectors: np.ndarray, labels: np.ndarray, modalities: Mapping[str, int]):
        self._modalities = modalities
        self._parts = self._unit(vectors)
        self._labels = labels.astype(np.float32)
        self._counts = self._labels.sum(0)

    def names(self) -> list[str]:
        """The names of the F features; the first is categorical."""
        spaces = (*self._modalities, BOTH)
        return ["class", *(f"{space}.{kind}" for space in spaces for kind in EVIDENCE), "videos", "place", "best_vote"]

    def candidates(self, vectors: np.ndarray | None = None) -> Candidates:
        """The pairs of queried videos (Q, D); of the training videos themselves if None, each without itself."""
        parts = self._parts if vectors is None else self._unit(vectors)
        blocks = [
            self._block([part[first : first + QUERIES] for part in parts], None if vectors is not None else first)
            for first in range(0, len(parts[0]), QUERIES)
        ]
        starts = np.cumsum([0, *(len(block.similarity) for block in blocks[:-1])])
        return Candidates(
            np.concatenate([block.features for block in blocks]),
            np.concatenate([block.rows + start for block, start in zip(blocks, starts, strict=True)]),
            np.concatenate([block.classes for block in blocks]),
            np.concatenate([block.similarity for block in blocks]),
        )

    def _block(self, parts: list[np.ndarray], own: int | None) -> Candidates:
        """Candidates of some queries; `own` is the number of the first among the training videos."""
        cosines = [part @ known.T for part, known in zip(parts, self._parts, strict=True)]
        cosines.append(np.mean(cosines, axis=0))
        others = np.ones_like(cosines[0])
        if own is not None:
            np.fill_diagonal(others[:, own:], 0)
        counts = others @ self._labels
        votes, similarities = [], []
        for cosine in cosines:
            similarities.append((cosine * others) @ self._labels / np.maximum(counts, 1))
            votes.append(self._votes(np.where(others > 0, cosine, -np.inf)))
        best = np.argsort(-votes[-1], axis=1, kind="stable")[:, :CANDIDATES]
        rows, classes = np.repeat(np.arange(len(best)), best.shape[1]), best.ravel()
        evidence = [array[rows, classes] for pair in zip(votes, similarities, strict=True) for array in pair]
        # All of a class's videos: without the own one this number would give its label away.
        columns = [classes, *evidence, self._counts[classes], np.tile(np.arange(best.shape[1]), len(best))]
        columns.append(votes[-1].max(axis=1)[rows])
        features = np.stack([np.asarray(column, dtype=np.float32) for column in columns], axis=-1)
        return Candidates(features, rows, classes, similarities[-1])

    def _votes(self, cosine: np.ndarray) -> np.ndarray:
        """The share of the votes of the nearest neighbours that each class gets, (Q, C), from cosines (Q, N)."""
        count = min(NEIGHBOURS, cosine.shape[1])
        nearest = np.argpartition(-cosine, count - 1, axis=1)[:, :count]
        weights = np.exp(SHARPNESS * np.take_along_axis(cosine, nearest, axis=1))
        shares = np.zeros_like(cosine)
        np.put_along_axis(shares, nearest, weights / weights.sum(axis=1, keepdims=True), axis=1)
        return shares @ self._labels

    def _unit(self, vectors: np.ndarray) -> list[np.ndarray]:
        """Each modality's part of the vectors, divided by its length."""
        ends = list(np.cumsum(list(self._modalities.values())))[:-1]
        parts = np.split(vectors, ends, axis=1)
        return [part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-6) for part in parts]


def scores(candidates: Candidates, probabilities: np.ndarray) -> np.ndarray:
    """Scores (Q, C): the `probabilities` (P,) of the candidates, similarity - 2 (below 0) for all other pairs."""
    scored = candidates.similarity - 2
    scored[candidates.rows, candidates.classes] = probabilities
    return scored
