"""The best K segments of every class, kept while scores stream by: memory does not grow with the number of videos."""

import numpy as np
import polars as pl

from scoring.lists.ranked import Submission


class TopSegments:
    """Keeps, for each of `class_ids`, the `keep` best of all segments that `add` has seen.

    A candidate is one 64-bit key: the score's bits, turned round so that a smaller key is a better score, above the
    segment's code. Ordering keys is ordering by score descending, then by code, which settles equal scores.
    """

    def __init__(self, class_ids: list[int], segments: pl.Series, keep: int, block: int = 1 << 14):
        """`segments` holds all segment ids in code order; `block` is how many more than `keep` are held at a time."""
        self._class_ids, self._segments, self._keep = class_ids, segments, keep
        self._keys = np.empty((len(class_ids), min(keep, len(segments)) + block), dtype=np.uint64)
        self._filled, self._block = 0, block

    def add(self, first_code: int, scores: np.ndarray) -> None:
        """`scores` (N, classes) of the N segments from `first_code` on; they must not be NaN."""
        for start in range(0, len(scores), self._block):
            part = scores[start : start + self._block]
            if self._filled + len(part) > self._keys.shape[1]:
                self._prune()
            codes = np.arange(first_code + start, first_code + start + len(part), dtype=np.uint64)
            self._keys[:, self._filled : self._filled + len(part)] = _worst_first_bits(part.T) << np.uint64(32) | codes
            self._filled += len(part)

    def submission(self) -> Submission:
        """The ranked lists with their scores."""
        keys = np.sort(self._keys[:, : self._filled], axis=1)[:, : self._keep]
        codes = (keys & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        scores = _score((keys >> np.uint64(32)).astype(np.uint32))
        lists = pl.DataFrame(
            {"class_id": self._class_ids, "segments": list(codes), "scores": list(scores)},
            schema={"class_id": pl.UInt16, "segments": pl.List(pl.UInt32), "scores": pl.List(pl.Float32)},
        )
        return Submission(lists.sort("class_id"), self._segments)

    def _prune(self) -> None:
        for row in self._keys:
            row[: self._filled].partition(self._keep - 1)
        self._filled = self._keep


def _worst_first_bits(scores: np.ndarray) -> np.ndarray:
    """The bits of float32 scores as integers (uint64) that fall as the score rises."""
    bits = (np.ascontiguousarray(scores, dtype=np.float32) + np.float32(0)).view(np.uint32)  # -0 becomes 0
    # Floats of either sign sort like integers once a negative one is inverted and a positive one has its sign bit set.
    rising = np.where(bits >> 31 == 1, ~bits, bits | np.uint32(0x80000000))
    return (~rising).astype(np.uint64)


def _score(falling: np.ndarray) -> np.ndarray:
    """The float32 scores that `_worst_first_bits` made these integers (uint32) of."""
    rising = ~falling
    return np.where(rising >> 31 == 1, rising & np.uint32(0x7FFFFFFF), ~rising).astype(np.uint32).view(np.float32)
