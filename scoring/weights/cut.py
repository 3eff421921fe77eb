"""Whether a segment is among the best K of its class, for any weights, without fusing the class anew.

Most segments of a class say nothing about a place far from K, so that a sample of them decides first. A fused rank is
estimated from a random sample of the listed segments; Hoeffding's inequality bounds how far off that can be, and only
where the bound leaves K in doubt are all segments counted. A wrong decision has a probability below `DOUBT`.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from scoring.lists.opening import read_together
from scoring.lists.ranked import ClassId, RankedLists, share_segments

SAMPLES = (256, 1024, 8192)  # segments of a class, small sample first
DOUBT = 1e-12
KEPT = 2**30  # bytes of lists that stay in memory


class Cut:
    """The cut at `cut` of the classes of some members' lists (in the order of the members' names)."""

    def __init__(self, sources: Mapping[str, RankedLists], cut: int):
        self._sources, self._cut = [sources[name] for name in sorted(sources)], cut
        self._samples: dict[ClassId, tuple[np.ndarray, int]] = {}
        self._lists: OrderedDict[ClassId, tuple[pl.Series, np.ndarray, np.ndarray]] = OrderedDict()
        self._kept = 0

    def within(
        self, class_id: ClassId, ids: np.ndarray, scores: np.ndarray, shares: np.ndarray, k: float
    ) -> np.ndarray:
        """Whether each of these ids, of these fused scores, is among the best of its class (bool).

        Args:
            shares: of all members, 0 for one that does not vote.
        """
        decided, within = np.zeros(len(ids), dtype=bool), np.zeros(len(ids), dtype=bool)
        sample, listed = self._sample(class_id)
        for size in SAMPLES:
            if size > sample.shape[1]:
                break
            drawn = _fused(sample[:, :size], shares, k)
            margin = listed * math.sqrt(math.log(2 / DOUBT) / (2 * size))
            ahead = np.count_nonzero(drawn[:, None] > scores, axis=0) / size * listed
            level = np.count_nonzero(drawn[:, None] == scores, axis=0) / size * listed
            sure = ahead + level + margin < self._cut  # whatever the ids of those that are level
            within |= sure & ~decided
            decided |= sure | (ahead - margin > self._cut)
            if decided.all():
                return within
        within[~decided] = self._ranks(class_id, ids[~decided], shares, k) <= self._cut
        return within

    def _ranks(self, class_id: ClassId, ids: np.ndarray, shares: np.ndarray, k: float) -> np.ndarray:
        """The fused rank of these ids among all that the members list."""
        segments, codes, ranks = self._read(class_id)
        scores = _fused(ranks, shares, k)
        places = np.searchsorted(codes, segments.search_sorted(pl.Series(ids, dtype=pl.String)).to_numpy())
        ahead = [np.count_nonzero(scores > scores[place]) for place in places]
        level = [np.count_nonzero(scores[:place] == scores[place]) for place in places]
        return 1 + np.array(ahead) + np.array(level)

    def _sample(self, class_id: ClassId) -> tuple[np.ndarray, int]:
        """The members' ranks of some listed segments in random order (members, segments), and how many are listed."""
        if class_id not in self._samples:
            _, codes, ranks = self._read(class_id)
            drawn = np.random.default_rng(
                list(class_id.encode()) if isinstance(class_id, str) else class_id
            ).permutation(len(codes))[: SAMPLES[-1]]
            self._samples[class_id] = (np.ascontiguousarray(ranks[:, drawn]), len(codes))
        return self._samples[class_id]

    def _read(self, class_id: ClassId) -> tuple[pl.Series, np.ndarray, np.ndarray]:
        """The table of segments, the codes that any member lists (ascending), and the ranks (members, codes), inf where
        a member does not list one."""
        if class_id not in self._lists:
            blocks = share_segments(read_together(self._sources, [class_id]))
            lists = [codes for block in blocks for _, codes in block.ranked()] or [np.empty(0, dtype=np.uint32)]
            codes = _distinct(lists, len(blocks[0].segments))
            ranks = np.full((len(blocks), len(codes)), np.inf, dtype=np.float32)  # whole numbers, exact as float32
            place = np.zeros(len(blocks[0].segments), dtype=np.uint32)
            place[codes] = np.arange(len(codes))
            for row, block in zip(ranks, blocks, strict=True):
                for _, of_member in block.ranked():
                    row[place[of_member]] = np.arange(1, len(of_member) + 1)
            self._lists[class_id] = (blocks[0].segments, codes, ranks)
            self._kept += ranks.nbytes
            while self._kept > KEPT and len(self._lists) > 1:
                self._kept -= self._lists.popitem(last=False)[1][2].nbytes
        self._lists.move_to_end(class_id)
        return self._lists[class_id]


def _distinct(lists: Sequence[np.ndarray], segments: int) -> np.ndarray:
    listed = np.zeros(segments, dtype=bool)
    for codes in lists:
        listed[codes] = True
    return np.flatnonzero(listed)


def _fused(ranks: np.ndarray, shares: np.ndarray, k: float) -> np.ndarray:
    # In the members' order and in float64, as `fuse` adds: equal to the last bit.
    scores = np.zeros(ranks.shape[1])
    for share, of_member in zip(shares, ranks, strict=True):
        if share > 0:
            scores += share / (k + of_member.astype(np.float64))
    return scores
