"""MAP of fused members as a function of weights and k, in milliseconds, and exactly that of fusing the full lists.

Only judged pairs decide MAP, so each member's rank of each judged pair is looked up once. What the other segments
could change is the cut at K. It matters for positives alone (a pair that the cut removes stands below all that stay),
and mostly a bound settles it: a segment of score S = 1 / (k + H) is overtaken only by segments that some member ranks
at H or better, for all others fall short of S with every vote. Where at most K segments have such a rank, the pair is
within K, whatever the weights. `reach` is the first H of which that is no longer certain, for each class; a positive
at or beyond it is ranked among the full lists.
"""

import sys
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from scoring.average_precision import Mode, judged_ranks, precision_sums
from scoring.fusion import shares_of, votes
from scoring.judgments import last_of_pairs
from scoring.ranked import K, RankedLists, Submission, class_blocks, share_segments
from scoring.submission import read_together

ROUNDING = 1e-12  # far above the rounding error of a sum of votes


class Objective:
    """The judged pairs of some members' lists, and MAP as a function of the members' weights and k.

    `pairs` has class_id, segment_id, relevance: every judged pair of the classes with a positive, sorted.
    `ranks` (members, pairs) f64 is inf where a member does not list a pair; `has` (members, classes) says which member
    has which class; `reach` (classes) f64 is explained above. Members stand in the order of their names.
    """

    def __init__(
        self,
        sources: Mapping[str, RankedLists],
        pairs: pl.DataFrame,
        ranks: np.ndarray,
        has: np.ndarray,
        reach: np.ndarray,
        cut: int,
        mode: Mode,
    ):
        self.members = tuple(sorted(sources))
        self.pairs, self.ranks, self.has, self.reach, self.cut = pairs, ranks, has, reach, cut
        self.mode: Mode = mode
        self._sources = sources
        self._classes = pairs["class_id"].unique().sort()
        # 16 bits, because numpy sorts these by radix.
        self._rows = self._classes.search_sorted(pairs["class_id"]).to_numpy().astype(np.uint16)
        self._positive = (pairs["relevance"] > 0).to_numpy()
        self._positives = np.bincount(self._rows[self._positive], minlength=len(self._classes))

    @classmethod
    def of(
        cls, sources: Mapping[str, RankedLists], judgments: pl.DataFrame, cut: int = K, mode: Mode = "strict"
    ) -> "Objective":
        """Look the judged pairs up in the lists, a block of classes at a time."""
        pairs = last_of_pairs(judgments).filter((pl.col("relevance") > 0).any().over("class_id"))
        if pairs.is_empty():
            raise ValueError("the judgments hold no positive (relevance above 0), so there is no MAP; check the file")
        members = sorted(sources)
        classes = pairs["class_id"].unique().sort()
        ranks = np.full((len(members), len(pairs)), np.inf)
        has = np.zeros((len(members), len(classes)), dtype=bool)
        reach = np.full(len(classes), np.inf)
        row_of = {class_id: row for row, class_id in enumerate(classes.to_list())}
        numbered = pairs.with_row_index("pair")
        for class_ids in class_blocks(sources.values()):
            wanted = [class_id for class_id in class_ids if class_id in row_of]
            blocks = share_segments(read_together([sources[member] for member in members], wanted))
            for number, block in enumerate(blocks):
                has[number, [row_of[class_id] for class_id in block.classes]] = True
                found = judged_ranks(block, pairs, cut=None).join(numbered, on=["class_id", "segment_id"])
                ranks[number, found["pair"].to_numpy()] = found["rank"].to_numpy()
            for class_id, limit in _reach(blocks, cut).items():
                reach[row_of[class_id]] = limit
        return cls(sources, pairs, ranks, has, reach, cut, mode)

    def restrict(self, keep: np.ndarray) -> "Objective":
        """The same over the judged pairs where `keep` (pairs, bool) is true; classes left without a positive go."""
        keep = keep & (np.bincount(self._rows[self._positive & keep], minlength=len(self._classes)) > 0)[self._rows]
        if not keep.any():
            raise ValueError("these pairs hold no positive; choose more of them")
        kept = np.unique(self._rows[keep])
        return Objective(
            {member: self._sources[member] for member in self.members},
            self.pairs.filter(pl.Series(keep)),
            self.ranks[:, keep],
            self.has[:, kept],
            self.reach[kept],
            self.cut,
            self.mode,
        )

    def map(self, weights: Mapping[str, float] | None, k: float) -> float:
        """MAP of the members fused with these weights and k; exactly that of `fuse` and `mean_average_precision`."""
        shares = shares_of(weights, self.members)
        scores = self._scores(shares, k)
        order = np.argsort(-scores, kind="stable")  # pairs stand in the order of their ids, which settles equal scores
        order = order[np.argsort(self._rows[order], kind="stable")]
        listed = (scores > 0) & self._within_cut(scores, shares, k)
        sums = precision_sums(self._rows[order], self._positive[order], listed[order], len(self._classes))
        precision = sums / self._positives
        if self.mode == "google":
            present = self.has[[member in shares for member in self.members]].any(axis=0)
            if not present.any():
                raise ValueError("the members have none of the classes with positives; check that the data is the same")
            precision = precision[present]
        return float(np.mean(precision))

    def _scores(self, shares: Mapping[str, float], k: float) -> np.ndarray:
        # The same operations in the same order as in `fuse`: equal to the last bit.
        scores = np.zeros(self.ranks.shape[1])
        for member, ranks in zip(self.members, self.ranks, strict=True):
            if member in shares:
                scores += shares[member] / (k + ranks)
        return scores

    def _within_cut(self, scores: np.ndarray, shares: Mapping[str, float], k: float) -> np.ndarray:
        """Whether each positive of a score above 0 is among the best K of its class; negatives do not matter."""
        certain = scores > (1 + ROUNDING) / (k + self.reach[self._rows])
        within = np.ones(len(scores), dtype=bool)
        open_pairs = np.flatnonzero(~certain & self._positive & (scores > 0))
        for row in np.unique(self._rows[open_pairs]):
            of_class = open_pairs[self._rows[open_pairs] == row]
            within[of_class] = self._ranks_among_all(int(self._classes[int(row)]), of_class, shares, k) <= self.cut
        return within

    def _ranks_among_all(self, class_id: int, pairs: np.ndarray, shares: Mapping[str, float], k: float) -> np.ndarray:
        """The fused rank of these pairs of one class among all segments that the members list."""
        blocks = share_segments(read_together([self._sources[member] for member in shares], [class_id]))
        segments = blocks[0].segments
        scores = np.zeros(len(segments))
        for share, block in zip(shares.values(), blocks, strict=True):
            for _, codes in block.ranked():
                scores[codes] += votes(share, k, len(codes))
        codes = segments.search_sorted(self.pairs["segment_id"].gather(pairs)).to_numpy()
        ahead = [np.count_nonzero(scores > scores[code]) for code in codes]
        level = [np.count_nonzero(scores[:code] == scores[code]) for code in codes]
        return 1 + np.array(ahead) + np.array(level)


def _reach(blocks: Sequence[Submission], cut: int) -> dict[int, float]:
    """For each class whose members list more than `cut` segments together: the smallest rank R such that more than
    `cut` segments have a member that ranks them at R or better."""
    lists: dict[int, list[np.ndarray]] = {}
    for block in blocks:
        for class_id, codes in block.ranked():
            lists.setdefault(class_id, []).append(codes)
    best = np.full(len(blocks[0].segments), sys.maxsize)
    limits = {}
    for class_id, ranked in lists.items():
        if min(len(best), sum(len(codes) for codes in ranked)) <= cut:
            continue
        for codes in ranked:
            best[codes] = np.minimum(best[codes], np.arange(1, len(codes) + 1))
        listed = best[best < sys.maxsize]
        if len(listed) > cut:
            limits[class_id] = float(np.partition(listed, cut)[cut])
        for codes in ranked:
            best[codes] = sys.maxsize
    return limits
