"""Whether a segment is within the cutoff of its class for given weights, without fusing the whole class.

Whether a segment is inside the top K is usually clear from a random sample of the class's segments, so a sample is
tried first. Hoeffding's inequality bounds the error of the fused rank that it estimates; a wrong decision has a
probability below `DOUBT`. If the bound leaves the segment in doubt, all segments are counted.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping

import numpy as np
import polars as pl

from scoring.lists.kernels import pair_scores
from scoring.lists.opening import read_together
from scoring.lists.ranked import ClassId, RankedLists, share_segments

SAMPLES = (256, 1024, 8192)  # segments of a class, small sample first
DOUBT = 1e-12
CACHE = 2**30  # bytes of lists that stay in memory


class Cutoff:
    """The best `cutoff` segments per class of the members' fused lists. Thread-safe."""

    def __init__(self, sources: Mapping[str, RankedLists], cutoff: int):
        self._sources, self._cutoff = [sources[name] for name in sorted(sources)], cutoff
        self._samples: dict[ClassId, tuple[np.ndarray, int]] = {}
        self._lists: OrderedDict[ClassId, tuple[pl.Series, np.ndarray, np.ndarray]] = OrderedDict()
        self._cached = 0
        self._lock = threading.RLock()

    def within(
        self, class_id: ClassId, ids: np.ndarray, scores: np.ndarray, shares: np.ndarray, k: float
    ) -> np.ndarray:
        """Whether each of these ids, with these fused scores, is within the cutoff of its class (bool).

        Args:
            class_id: The class of all ids.
            ids: Segment ids.
            scores: The fused score of each id.
            shares: Share of each member, in the order of the names; 0 for one that does not vote.
            k: The constant of the fusion.
        """
        decided, within = np.zeros(len(ids), dtype=bool), np.zeros(len(ids), dtype=bool)
        sample, listed = self._sample(class_id)
        for size in SAMPLES:
            if size > sample.shape[1]:
                break
            sampled = _fused(sample[:, :size], shares, k)
            margin = listed * math.sqrt(math.log(2 / DOUBT) / (2 * size))
            ahead = np.count_nonzero(sampled[:, None] > scores, axis=0) / size * listed
            level = np.count_nonzero(sampled[:, None] == scores, axis=0) / size * listed
            inside = ahead + level + margin < self._cutoff  # whatever the ids of equal scores are
            within |= inside & ~decided
            decided |= inside | (ahead - margin > self._cutoff)
            if decided.all():
                return within
        within[~decided] = self._ranks(class_id, ids[~decided], shares, k) <= self._cutoff
        return within

    def _ranks(self, class_id: ClassId, ids: np.ndarray, shares: np.ndarray, k: float) -> np.ndarray:
        """The fused rank of these ids among all segments that the members list."""
        segments, codes, ranks = self._read(class_id)
        scores = _fused(ranks, shares, k)
        columns = np.searchsorted(codes, segments.search_sorted(pl.Series(ids, dtype=pl.String)).to_numpy())
        ahead = [np.count_nonzero(scores > scores[column]) for column in columns]
        level = [np.count_nonzero(scores[:column] == scores[column]) for column in columns]
        return 1 + np.array(ahead) + np.array(level)

    def _sample(self, class_id: ClassId) -> tuple[np.ndarray, int]:
        """The ranks of listed segments in a random sample (members, segments), and the number of all listed ones."""
        with self._lock:
            if class_id not in self._samples:
                _, codes, ranks = self._read(class_id)
                chosen = np.random.default_rng(1).permutation(len(codes))[: SAMPLES[-1]]
                self._samples[class_id] = (np.ascontiguousarray(ranks[:, chosen]), len(codes))
            return self._samples[class_id]

    def _read(self, class_id: ClassId) -> tuple[pl.Series, np.ndarray, np.ndarray]:
        """The table of segments, the codes that any member lists (ascending), and their ranks (members, codes), inf if
        the member does not list the code."""
        with self._lock:
            if class_id not in self._lists:
                blocks = share_segments(read_together(self._sources, [class_id]))
                lists = [dict(block.ranked()).get(class_id, np.empty(0, dtype=np.uint32)) for block in blocks]
                codes = np.unique(np.concatenate(lists))
                ranks = np.full((len(lists), len(codes)), np.inf, dtype=np.float32)  # integers, exact as float32
                for row, ranked in zip(ranks, lists, strict=True):
                    row[np.searchsorted(codes, ranked)] = np.arange(1, len(ranked) + 1)
                self._lists[class_id] = (blocks[0].segments, codes, ranks)
                self._cached += ranks.nbytes
                while self._cached > CACHE and len(self._lists) > 1:
                    self._cached -= self._lists.popitem(last=False)[1][2].nbytes
            self._lists.move_to_end(class_id)
            return self._lists[class_id]


def _fused(ranks: np.ndarray, shares: np.ndarray, k: float) -> np.ndarray:
    return pair_scores(np.ascontiguousarray(ranks, dtype=np.float64), shares, k)
