"""What a logged model of code does: score or rank videos of any origin, as the stages do, without a tracking store.

The models (`tracking.code_models.CodeModel`) hold a copy of this code, so they predict alike when the code has changed.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from scoring.fusion.workers import fuse_in_blocks, merge_in_blocks
from scoring.lists.opening import open_submissions
from scoring.lists.ranked import K, Submission
from scoring.lists.top_segments import TopSegments
from scoring.lists.writing import write_coded
from tracking.runs import DESCRIPTION
from training.ranking import scored_blocks
from training.trained import Trained, read_trained
from videos.dataset import Dataset
from videos.segments import rankable, segments_of
from videos.store import FrameStore, open_frames
from videos.store_writing import videos_alone


class VideoModel:
    """A member that scores a segment by the whole video: the model that `boosted` logs."""

    def __init__(self, folder: Path, checkpoints: Mapping[str, Path]):
        """`folder` has the description `member.json` and the weights, `checkpoint/`."""
        self._trained = read_trained(json.loads((folder / DESCRIPTION).read_text()), folder / "checkpoint")

    def predict(self, windows: np.ndarray) -> np.ndarray:
        """Scores (N, scored classes) f32 of the N segments of one video, in their order.

        `windows` (N, T, D) f32 are the segments' features; rows of zeros are the frames that the last one lacks.
        """
        there = np.flatnonzero((windows != 0).any(-1))
        frames = windows.reshape(-1, windows.shape[-1])[: there[-1] + 1 if len(there) else 0]
        dataset = replace(self._trained.dataset, dtype="float32", partial_segments=True)
        with tempfile.TemporaryDirectory() as folder:
            store = videos_alone(Path(folder), dataset, [("video", frames.astype(np.float32))])
            segments = segments_of(store.videos, dataset)
            scores = self._trained.scorer(store, segments)(np.arange(len(segments)))[0]
        return scores[np.argsort(segments["start"].to_numpy())]


class EnsembleModel:
    """An ensemble: its members under their shifts, merged and fused by its weights."""

    def __init__(self, folder: Path, checkpoints: Mapping[str, Path]):
        """`folder` has `ensemble.json` (`scoring.tracked.ensemble_model`), `checkpoints` each member's weights."""
        content = json.loads((folder / "ensemble.json").read_text())
        self._weights: dict[str, float] = content["weights"]
        self._k, self._by = content["k"], content["by"]
        self._members = {
            name: read_trained(member["description"], checkpoints[name]) for name, member in content["members"].items()
        }

    @property
    def dataset(self) -> Dataset:
        """What the videos must be like."""
        return next(iter(self._members.values())).dataset

    def predict(self, videos: Any) -> Any:
        """The ranked classes of every segment of `videos`, as a pandas table.

        `videos` is a pandas table with the columns video_id and frames: the bytes of the video's frames, row by row in
        the type and width that the dataset's store has (uint8, all modalities). The result has the columns segment_id,
        class_id, rank (of the segment in the class's list of these videos) and score; best class of a segment first.
        """
        dataset = self.dataset
        frames = (np.frombuffer(row, dtype=dataset.dtype).reshape(-1, dataset.width) for row in videos["frames"])
        with tempfile.TemporaryDirectory() as folder:
            store = videos_alone(Path(folder), dataset, zip(videos["video_id"], frames, strict=True))
            blocks = list(self._fused(store, Path(folder) / "merged", keep_scores=True))
        table = pl.concat([_table(block) for block in blocks])
        return table.sort("segment_id", "score", "class_id", descending=[False, True, False]).to_pandas()

    def rank(self, frames: Path, out: Path) -> None:
        """Rank the segments of all videos of the frame store in the folder `frames`; writes the coded lists `out`."""
        store = replace(open_frames(frames), dataset=self.dataset)
        with tempfile.TemporaryDirectory() as folder:
            blocks = self._fused(store, Path(folder), keep_scores=False)
            write_coded(blocks, _ranked(store)["segment_id"], out)

    def _fused(self, store: FrameStore, folder: Path, keep_scores: bool) -> Iterator[Submission]:
        segments = _ranked(store)["segment_id"]
        for name, trained in self._members.items():
            shifts = ranked_shifts(trained, store)
            merged = merge_in_blocks([shifts[shift] for shift in sorted(shifts)], by=self._by)
            write_coded(merged, segments, folder / name)
        sources = open_submissions([folder / name for name in self._members])
        return fuse_in_blocks(sources, weights=self._weights, k=self._k, cutoff=K, keep_scores=keep_scores)


def ranked_shifts(trained: Trained, store: FrameStore) -> dict[int, Submission]:
    """The ranked lists of all videos of a store, per shift of a member, as its stage infer has them."""
    segments, ids = segments_of(store.videos, store.dataset), _ranked(store)["segment_id"]
    best = {shift: TopSegments(store.dataset.scored_classes, ids, K) for shift in trained.member.shifts}
    for first_code, scores, _ in scored_blocks(trained.scorer(store, segments), segments, store.dataset):
        for top, own in zip(best.values(), scores, strict=True):
            top.add(first_code, own)
    return {shift: top.submission() for shift, top in best.items()}


def _ranked(store: FrameStore) -> pl.DataFrame:
    return segments_of(store.videos, store.dataset).filter(rankable(store.dataset))


def _table(submission: Submission) -> pl.DataFrame:
    """The lists of a fusion in the long form: segment_id, class_id, rank, score."""
    rows = submission.lists.explode("segments", "scores", empty_as_null=False)
    return rows.select(
        segment_id=submission.segments.gather(rows["segments"]),
        class_id="class_id",
        rank=pl.int_range(1, pl.len() + 1).over("class_id"),
        score="scores",
    )
