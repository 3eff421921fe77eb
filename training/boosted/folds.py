"""Out-of-fold scores and class means: the booster's evidence on a video is from models without its ratings.

Rated videos are assigned to folds by their id. For each fold, every base member is fine-tuned from its pre-trained
weights on the other folds, for as many steps as its own fine-tuning took to its best checkpoint, and scores the fold's
videos. Videos outside the split finetune are scored by the models of all folds, averaged. Class means follow the same
rule. Pre-training has seen the video-level labels of finetune videos, but no rating, and nothing of the holdout.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from training.fit.checkpoints import Checkpoints
from training.fit.loop import GradientEstimator, Predictor, fit
from training.member import Member
from training.models.boosted import Evidence
from training.windows.clips import Clips
from training.windows.examples import SegmentExamples
from training.windows.segments import SegmentWindows, segment_rows
from videos.segments import segments_of
from videos.store import FrameStore

log = logging.getLogger(__name__)

SEGMENTS = 2048  # read or scored at a time
CLASS_MEANS = "class_means.npy"  # among the checkpoints: (folds, scored classes, 2, features)


def fold_of(video_id: str, folds: int) -> int:
    """The fold of a rated video, from its hash divided by 100, since the remainder decides the holdout."""
    return int(hashlib.sha256(video_id.encode()).hexdigest(), 16) // 100 % folds


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
        examples = SegmentExamples(store, base.member.sampler, base.member.finetune.label_mask, others)
        estimator = base.build()
        if base.pretrained is not None:
            estimator.restore(*base.pretrained.read("last", base.member.name))
        if base.steps:
            schedule = replace(base.member.finetune, steps=base.steps)
            fit(estimator, examples, member=base.member, schedule=schedule, checkpoints=checkpoints)
        else:
            checkpoints.write(base.member.name, estimator.step, estimator.weights(), estimator.moments(), None)
        log.info("%s: %s without fold %d of %d, %d videos", label, base.member.name, fold + 1, folds, len(others))


class FoldModels:
    """The fold models of all bases, with the class means of each fold, as one source of `Evidence`.

    The weights are read from the checkpoints in `folder`, the class means too if they are there.
    """

    def __init__(self, store: FrameStore, bases: Sequence[Base], folds: int, folder: Path):
        self._store, self._folds = store, folds
        self._columns = np.asarray(store.dataset.scored_classes, dtype=np.int64)
        self._members = [base.member for base in bases]
        self._predictors = [[self._predictor(base, fold, folder) for fold in range(folds)] for base in bases]
        means = folder / CLASS_MEANS  # earlier versions did not store them
        self.means = np.load(means) if means.is_file() else np.stack([self._class_means(fold) for fold in range(folds)])
        self._fold = {video: fold_of(video, folds) for video in store.split("finetune")["video_id"]}

    def _predictor(self, base: Base, fold: int, folder: Path) -> Predictor:
        estimator = base.build()
        step, weights = _fold(folder, base.member.name, fold).last_weights(base.member.name)
        estimator.restore(step, weights, {})
        return estimator.predictor(self._columns)

    def evidence(self, segments: pl.DataFrame) -> Evidence:
        """Evidence on `segments`, which must be all segments of their videos (rows of `segments_of`).

        It is dense, S values per segment, so it is to be called on blocks of videos (`video_blocks`).
        """
        fold = np.array([self._fold.get(video, -1) for video in segments["video_id"]])
        vectors = np.concatenate([self._segment_means(block) for block in segments.iter_slices(SEGMENTS)])
        scores = np.zeros((len(self._members), len(segments), len(self._columns)), dtype=np.float32)
        resemblance = np.zeros((2 * len(self._store.dataset.modalities), *scores.shape[1:]), dtype=np.float32)
        for f in range(self._folds):
            # Rated videos are scored by their own fold's models only, all others by every fold's, averaged.
            share = np.where(fold == f, 1.0, np.where(fold == -1, 1.0 / self._folds, 0.0)).astype(np.float32)
            rows = np.flatnonzero(share)
            if not len(rows):
                continue
            for m, member in enumerate(self._members):
                windows = SegmentWindows(self._store, segments[rows], member.sampler)
                predicted = np.concatenate([self._predictors[m][f](block) for block in windows.blocks(0, SEGMENTS)])
                scores[m, rows] += share[rows, None] * predicted
            resemblance[:, rows] += share[rows, None] * self._resemblance(vectors[rows], self.means[f])
        return Evidence(
            scores=scores,
            resemblance=resemblance,
            video=segments["video_id"].rank("dense").to_numpy().astype(np.int64),
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

    def _resemblance(self, vectors: np.ndarray, means: np.ndarray) -> np.ndarray:
        """Cosines (2 * modalities, N, S) of segments' mean frames `vectors` (N, D) with each class's two means."""
        cosines, first = [], 0
        for width in self._store.dataset.modalities.values():
            part = slice(first, first + width)
            first += width
            for kind in (0, 1):
                cosines.append(_unit(vectors[:, part]) @ _unit(means[:, kind, part]).T)
        return np.stack(cosines)


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


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)
