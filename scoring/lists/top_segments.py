"""The best K segments of every class from a stream of scores: memory does not grow with the number of videos."""

from pathlib import Path

import numpy as np
import polars as pl

from scoring.lists.coded import PREDICTIONS
from scoring.lists.ranked import Submission

CLASSES = 32  # whose lists are made at a time: a hundred thousand entries of a class take 2 MB on the way


class TopSegments:
    """Per class of `class_ids`, the `cutoff` best of all segments given to `add`.

    A candidate is one 64-bit key: the score's bits, which fall as the score rises, above the segment's code. Ascending
    keys order by descending score, equal scores by ascending code.
    """

    def __init__(self, class_ids: list[int], segments: pl.Series, cutoff: int, block: int = 1 << 14):
        """`segments` are all segment ids in code order; up to `cutoff` + `block` candidates per class are in memory."""
        self._class_ids, self._segments, self._cutoff = class_ids, segments, cutoff
        width = min(cutoff, len(segments)) + block
        groups = [class_ids[first : first + CLASSES] for first in range(0, len(class_ids), CLASSES)]
        self._groups = [(ids, np.empty((len(ids), width), dtype=np.uint64)) for ids in groups]  # each freed by itself
        self._filled, self._block = 0, block

    def add(self, first_code: int, scores: np.ndarray) -> None:
        """Add the scores (N, classes), not NaN, of N segments whose codes follow one another from `first_code`."""
        for start in range(0, len(scores), self._block):
            part = scores[start : start + self._block]
            if self._filled + len(part) > self._groups[0][1].shape[1]:
                self._prune()
            codes = np.arange(first_code + start, first_code + start + len(part), dtype=np.uint64)
            keys = _worst_first_bits(part.T) << np.uint64(32) | codes
            end = self._filled + len(part)
            for number, (ids, group) in enumerate(self._groups):
                group[:, self._filled : end] = keys[number * CLASSES : number * CLASSES + len(ids)]
            self._filled = end

    def save(self, path: Path) -> None:
        """Write the keys (classes, candidates) of what may still be among the best, in no order; for `resume`."""
        header = {"descr": "<u8", "fortran_order": False, "shape": (len(self._class_ids), self._filled)}
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for _, group in self._groups:
                np.ascontiguousarray(group[:, : self._filled], dtype="<u8").tofile(file)

    def resume(self, path: Path) -> None:
        """Continue from what an earlier object with the same arguments has saved."""
        kept = np.load(path, mmap_mode="r")
        self._filled = kept.shape[1]
        for number, (ids, group) in enumerate(self._groups):
            group[:, : self._filled] = kept[number * CLASSES : number * CLASSES + len(ids)]

    def submission(self) -> Submission:
        """The ranked lists with their scores. Only once: the keys of a class are gone when its list is made."""
        blocks = []
        while self._groups:
            blocks.append(self._lists(*self._groups.pop(0)))
        lists = pl.concat(blocks)
        return Submission(lists if lists["class_id"].is_sorted() else lists.sort("class_id"), self._segments)

    def _lists(self, class_ids: list[int], candidates: np.ndarray) -> pl.DataFrame:
        """The lists of some classes, of their keys."""
        keys = np.sort(candidates[:, : self._filled], axis=1)[:, : self._cutoff]
        codes = pl.Series((keys & np.uint64(0xFFFFFFFF)).astype(np.uint32))
        scores = pl.Series(_score((keys >> np.uint64(32)).astype(np.uint32)))
        # An array is converted to lists at once; polars would copy a list of rows twice.
        columns = {"class_id": class_ids, "segments": codes.arr.to_list(), "scores": scores.arr.to_list()}
        return pl.DataFrame(columns, schema=PREDICTIONS)

    def _prune(self) -> None:
        for _, group in self._groups:
            for row in group:
                row[: self._filled].partition(self._cutoff - 1)
        self._filled = self._cutoff


def _worst_first_bits(scores: np.ndarray) -> np.ndarray:
    """The bits of float32 scores as integers (uint64) that fall as the score rises."""
    bits = (np.ascontiguousarray(scores, dtype=np.float32) + np.float32(0)).view(np.uint32)  # -0 becomes 0
    # Bits of floats sort as the floats do if negative ones are inverted and positive ones get the sign bit.
    rising = np.where(bits >> 31 == 1, ~bits, bits | np.uint32(0x80000000))
    return (~rising).astype(np.uint64)


def _score(falling: np.ndarray) -> np.ndarray:
    """The float32 scores whose `_worst_first_bits` are these integers (uint32)."""
    rising = ~falling
    return np.where(rising >> 31 == 1, rising & np.uint32(0x7FFFFFFF), ~rising).astype(np.uint32).view(np.float32)
