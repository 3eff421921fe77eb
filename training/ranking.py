"""Scores of whole videos, block by block, and the ranking of a split, kept on disk so that `infer` resumes."""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from files.replacing import replacing
from scoring.lists.ranked import K, Submission
from scoring.lists.top_segments import TopSegments
from training.trained import Scorer
from videos.dataset import Dataset
from videos.segments import rankable, video_blocks

SEGMENTS = 1024  # scored at a time, under all shifts
KEEP_SECONDS = 60.0  # of work that an interruption may cost
KEEP_SHARE = 0.05  # of the time that keeping may take: 100,000 segments of 1,000 classes are 0.9 GB per shift


def scored_blocks(
    scorer: Scorer, segments: pl.DataFrame, dataset: Dataset, begin: int = 0
) -> Iterator[tuple[int, list[np.ndarray], int]]:
    """Score `segments` (`segments_of`) from the row `begin` on, and keep the scores of those that can be rated.

    Per block of whole videos: the code of its first ranked segment, the scores (ranked segments, classes) under each
    shift, and the number of segments scored so far. The others are scored as well, since scorers may use all segments
    of a video.
    """
    is_ranked = segments.select(rankable(dataset)).to_series().to_numpy()
    codes = np.cumsum(is_ranked) - is_ranked  # of a ranked segment among them
    for block in video_blocks(segments[begin:], SEGMENTS):
        rows = begin + block
        yield int(codes[rows[0]]), [scores[is_ranked[rows]] for scores in scorer(rows)], int(rows[-1]) + 1


class SplitRanking:
    """The best K segments per shift and class of the first `done` segments, and of later ones as they are added.

    `folder` has what was kept last: `done.json` and the candidates of each shift, `shift<shift>.npy`. It is replaced
    atomically, and its content does not depend on when it was kept: a resumed ranking has the same lists.
    """

    def __init__(self, folder: Path, shifts: Sequence[int], class_ids: list[int], ids: pl.Series):
        """`ids` are the segments to be ranked, in code order."""
        self._folder = folder
        self._best = {shift: TopSegments(class_ids, ids, K) for shift in shifts}
        self.done = 0
        if (folder / "done.json").is_file():
            self.done = int(json.loads((folder / "done.json").read_text())["segments"])
            for shift, top in self._best.items():
                top.resume(self._file(folder, shift))
        self._keep_at = time.monotonic() + KEEP_SECONDS

    def add(self, first_code: int, scores: Sequence[np.ndarray], done: int) -> bool:
        """Add the scores (ranked segments, classes) under each shift, of segments whose codes begin at `first_code`.

        `done` segments of the split have been scored with these. Returns whether the ranking was kept on disk.
        """
        for top, shift_scores in zip(self._best.values(), scores, strict=True):
            top.add(first_code, shift_scores)
        self.done = done
        if time.monotonic() < self._keep_at:
            return False
        began = time.monotonic()
        with replacing(self._folder) as temporary:
            temporary.mkdir()
            for shift, top in self._best.items():
                top.save(self._file(temporary, shift))
            (temporary / "done.json").write_text(json.dumps({"segments": done}))
        ended = time.monotonic()
        self._keep_at = ended + max(KEEP_SECONDS, (ended - began) / KEEP_SHARE)
        return True

    def submissions(self) -> Iterator[tuple[int, Submission]]:
        """Each shift with its ranked lists and scores; the memory of a shift is free once the next is asked for."""
        for shift in list(self._best):
            yield shift, self._best.pop(shift).submission()

    def _file(self, folder: Path, shift: int) -> Path:
        return folder / f"shift{shift}.npy"
