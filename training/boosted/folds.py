"""Out-of-fold scores and class means: the booster's evidence on a video is from models without its ratings.

Rated videos are assigned to folds by their id. For each fold, every base member is fine-tuned from its pre-trained
weights on the other folds, for as many steps as its own fine-tuning took to its best checkpoint, and scores the fold's
videos. Videos outside the split finetune are scored by the models of all folds, averaged. Class means follow the same
rule. Pre-training has seen the video-level labels of finetune videos, but no rating, and nothing of the holdout.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from training.fit.checkpoints import Checkpoints
from training.fit.loop import GradientEstimator, Predictor, fit
from training.member import Member
from training.models.boosted import Evidence, rows_by_number
from training.windows.clips import Clips
from training.windows.segments import SegmentWindows, segment_rows
from videos.dataset import Dataset
from videos.segments import segments_of
from videos.splits import fold_of
from videos.store import FrameStore

log = logging.getLogger(__name__)

SEGMENTS = 2048  # read or scored at a time
CLASS_MEANS = "class_means.npy"  # among the checkpoints: (folds, scored classes, 2, features)


@dataclass(frozen=True)
class Base:
    """A neural member to be fine-tuned per fold: its constructor, its pre-trained checkpoints, its number of steps."""

    member: Member
    build: Callable[[], GradientEstimator]
    pretrained: Checkpoints | None
    steps: int


def fit_folds(base: Base, store: FrameStore, folds: int, folder: Path, label: str) -> None:
    """Fine-tune `base` once per fold on the videos outside it, with checkpoints in `folder`/<member>-fold<n>.

    Finished folds are skipped, an interrupted one resumes from its last checkpoint.
    """
    videos = store.split("finetune")["video_id"].to_list()
    for fold in range(folds):
        checkpoints = _fold(folder, base.member.name, fold)
        if checkpoints.state and checkpoints.state.last == checkpoints.state.begin + base.steps:
            continue
        others = [video for video in videos if fold_of(video, folds) != fold]
        examples = base.member.rated_examples(store, others)
        estimator = base.build()
        if base.pretrained is not None:
            estimator.restore(*base.pretrained.read("last", base.member.pretrained_name))
        if base.steps:
            schedule = replace(base.member.finetune, steps=base.steps)
            fit(estimator, examples, member=base.member, schedule=schedule, checkpoints=checkpoints)
        else:
            checkpoints.write(base.member.name, estimator.step, estimator.weights(), {}, None)
        checkpoints.finish("last", moments=False)
        log.info("%s: %s without fold %d of %d, %d videos", label, base.member.name, fold + 1, folds, len(others))


def fold_predictors(base: Base, dataset: Dataset, folds: int, folder: Path) -> list[Predictor]:
    """The models of a base, one per fold, for the scored classes, with the weights of the checkpoints in `folder`."""
    columns, predictors = np.asarray(dataset.scored_classes, dtype=np.int64), []
    for fold in range(folds):
        estimator = base.build()
        step, weights = _fold(folder, base.member.name, fold).last_weights(base.member.name)
        estimator.restore(step, weights, {})
        predictors.append(estimator.predictor(columns))
    return predictors


class FoldModels:
    """The fold models of all bases, with the class means of each fold, as one source of `Evidence` on a store's videos.

    `bases` are the base members, each with its models (`fold_predictors`). The class means are read from `folder`, if
    they are there.
    """

    def __init__(self, store: FrameStore, bases: Sequence[tuple[Member, list[Predictor]]], folds: int, folder: Path):
        self._store, self._folds = store, folds
        self._columns = np.asarray(store.dataset.scored_classes, dtype=np.int64)
        self._bases = bases
        means = folder / CLASS_MEANS  # earlier versions did not store them
        self.means = np.load(means) if means.is_file() else np.stack([self._class_means(fold) for fold in range(folds)])
        self._directions = self._unit(self.means)
        self._fold = {video: fold_of(video, folds) for video in store.split("finetune")["video_id"]}

    def evidence(self, segments: pl.DataFrame) -> Evidence:
        """Evidence on `segments`, which must be all segments of their videos (rows of `segments_of`).

        Its scores are dense, S values per segment, so it is to be called on blocks of videos (`video_blocks`).
        """
        fold = np.array([self._fold.get(video, -1) for video in segments["video_id"]])
        # Rated videos are scored by their own fold's models only, all others by every fold's, averaged.
        shares = np.where(fold == -1, 1.0 / self._folds, fold == np.arange(self._folds)[:, None]).astype(np.float32)
        vectors = np.concatenate([self._segment_means(block) for block in segments.iter_slices(SEGMENTS)])
        scores = np.zeros((len(self._bases), len(segments), len(self._columns)), dtype=np.float32)
        for f, share in enumerate(shares):
            rows = np.flatnonzero(share)
            if not len(rows):
                continue
            for m, (member, predictors) in enumerate(self._bases):
                windows = SegmentWindows(self._store, segments[rows], member.sampler)
                predicted = np.concatenate([predictors[f](block) for block in windows.blocks(0, SEGMENTS)])
                predicted *= share[rows, None]
                scores[m, rows if len(rows) < len(segments) else slice(None)] += predicted
        video = segments["video_id"].rank("dense").to_numpy().astype(np.int64)
        return Evidence(
            scores=scores,
            resemblance=partial(self._resemblance, self._unit(vectors), shares, video),
            video=video,
            start=segments["start"].to_numpy().astype(np.int64),
            frames=np.minimum(segments["frames"].to_numpy(), self._store.dataset.max_frames).astype(np.int64),
            segment_frames=self._store.dataset.segment_frames,
        )

    def _class_means(self, fold: int) -> np.ndarray:
        """Mean vectors (S, 2, D) of the positive and the negative rated segments of each class outside `fold`."""
        segments = segments_of(self._store.split("finetune"), self._store.dataset)
        rated = self._store.judgments.join(segments, on="segment_id")
        outside = [fold_of(video, self._folds) != fold for video in rated["video_id"]]
        rated = rated.filter(pl.Series(outside, dtype=pl.Boolean))
        columns = {int(class_id): i for i, class_id in enumerate(self._columns)}
        sums = np.zeros((len(self._columns), 2, self._store.dataset.width), dtype=np.float64)
        counts = np.zeros((len(self._columns), 2, 1))
        for block in rated.iter_slices(SEGMENTS):
            rows = np.array([columns.get(class_id, -1) for class_id in block["class_id"]])
            kind = (block["relevance"].to_numpy() <= 0).astype(int)
            known = rows >= 0
            np.add.at(sums, (rows[known], kind[known]), self._segment_means(block)[known])
            np.add.at(counts, (rows[known], kind[known]), 1)
        return (sums / np.maximum(counts, 1)).astype(np.float32)

    def _segment_means(self, segments: pl.DataFrame) -> np.ndarray:
        """The mean frame (N, D) of each segment."""
        clips = Clips(self._store, segments)
        rows = segment_rows(segments["start"].to_numpy().astype(np.int64), clips.frames, 0, self._store.dataset)
        return clips.gather(np.arange(len(segments)), rows).features().mean(1)

    def _resemblance(
        self, vectors: np.ndarray, shares: np.ndarray, video: np.ndarray, rows: np.ndarray, classes: np.ndarray
    ) -> np.ndarray:
        """`Evidence.resemblance`: cosines (2 * modalities, P) of pairs with their class's two means.

        `vectors` (N, D) are the segments' mean frames as in `_unit`, `shares` (folds, N) the folds' weights. One matrix
        product per video: most of its classes are no candidates, and the result does not depend on other videos.
        """
        cosines = np.zeros((2 * len(self._store.dataset.modalities), len(rows)), dtype=np.float32)
        for pairs in rows_by_number(video[rows]).values():
            segments, row = np.unique(rows[pairs], return_inverse=True)
            columns, column = np.unique(classes[pairs], return_inverse=True)
            for share, directions in zip(shares[:, segments], self._directions, strict=True):
                if not share.any():
                    continue
                near, i = directions[columns], 0
                for part in self._parts():
                    for kind in (0, 1):
                        products = vectors[segments, part] @ near[:, kind, part].T
                        cosines[i, pairs] += share[row] * products[row, column]
                        i += 1
        return cosines

    def _unit(self, vectors: np.ndarray) -> np.ndarray:
        """The vectors (..., D) with each modality's part divided by its length."""
        parts = [vectors[..., part] for part in self._parts()]
        lengths = [np.maximum(np.linalg.norm(part, axis=-1, keepdims=True), 1e-6) for part in parts]
        return np.concatenate([part / length for part, length in zip(parts, lengths, strict=True)], axis=-1)

    def _parts(self) -> Iterator[slice]:
        """The columns of each modality."""
        first = 0
        for width in self._store.dataset.modalities.values():
            yield slice(first, first + width)
            first += width


def rated_pairs(
    store: FrameStore, split: str, segments: pl.DataFrame, mined: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(row of `segments`, column of the class, label) of each rated pair of a split and of mined negatives.

    Per rated segment, `mined` scored classes are drawn that are neither in the video's labels nor in its ratings. A
    class's column is its index among the scored classes.
    """
    columns = {class_id: i for i, class_id in enumerate(store.dataset.scored_classes)}
    rated = (
        store.judgments.filter(pl.col("class_id").is_in(store.dataset.scored_classes))
        .join(segments.with_row_index("row").select("row", "segment_id", "video_id"), on="segment_id")
        .sort("row", "class_id")
    )
    rows, classes = rated["row"].to_list(), [columns[c] for c in rated["class_id"]]
    labels = [int(r > 0) for r in rated["relevance"]]
    rng = np.random.default_rng([seed, 2])
    named = dict(store.split(split).select("video_id", "classes").iter_rows())
    for (row, video_id), part in rated.group_by("row", "video_id", maintain_order=True) if mined else ():
        free = np.setdiff1d(store.dataset.scored_classes, [*named[video_id], *part["class_id"]])
        for class_id in rng.choice(free, min(mined, len(free)), replace=False).tolist():
            rows.append(row)
            classes.append(columns[class_id])
            labels.append(0)
    return np.array(rows, dtype=np.int64), np.array(classes, dtype=np.int64), np.array(labels, dtype=np.float32)


def _fold(folder: Path, member: str, fold: int) -> Checkpoints:
    return Checkpoints(folder / f"{member}-fold{fold}")
