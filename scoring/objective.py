"""MAP of fused members as a function of weights and k, in milliseconds, and exactly that of fusing the full lists.

Only judged pairs decide MAP, so each member's rank of each judged pair is looked up once. What the other segments
could change is the cut at K. It matters for positives alone (a pair that the cut removes stands below all that stay),
and mostly a bound settles it: a segment of score S = 1 / (k + H) is overtaken only by segments that some member ranks
at H or better, for all others fall short of S with every vote. Where at most K segments have such a rank, the pair is
within K, whatever the weights. `reach` is the first H of which that is no longer certain, for each class; a positive
at or beyond it is placed by `cut.py`, which looks at as much of the full lists as it needs.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from scoring.average_precision import Mode, judged_ranks, precision_sums
from scoring.cut import Cut
from scoring.fusion import shares_of
from scoring.judgments import last_of_pairs
from scoring.ranked import K, RankedLists, Submission, class_blocks, share_segments
from scoring.submission import read_together

TOGETHER = 16  # weight vectors that are scored at a time
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
        within: Cut | None = None,
    ):
        self.members = tuple(sorted(sources))
        self.pairs, self.ranks, self.has, self.reach, self.cut = pairs, ranks, has, reach, cut
        self.mode: Mode = mode
        self._sources, self._cut = sources, within or Cut(sources, cut)
        self._classes = pairs["class_id"].unique().sort()
        self._rows = self._classes.search_sorted(pairs["class_id"]).to_numpy()
        self._positive = (pairs["relevance"] > 0).to_numpy()
        self._positives = np.bincount(self._rows[self._positive], minlength=len(self._classes))
        self._sizes = np.bincount(self._rows, minlength=len(self._classes))

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
            self._cut,
        )

    def map(self, weights: Mapping[str, float] | None, k: float) -> float:
        """MAP of the members fused with these weights and k; exactly that of `fuse` and `mean_average_precision`."""
        return self._maps([shares_of(weights, self.members)], [k])[0]

    def maps(self, weights: np.ndarray, ks: np.ndarray) -> np.ndarray:
        """The same for many weight vectors (vectors, members) with their k (vectors), which costs less than one by one.

        Members stand in the order of their names.
        """
        shares = [shares_of(dict(zip(self.members, row, strict=True)), self.members) for row in weights.tolist()]
        found: list[float] = []
        for start in range(0, len(shares), TOGETHER):
            found += self._maps(shares[start : start + TOGETHER], ks[start : start + TOGETHER].tolist())
        return np.array(found)

    def _maps(self, shares: Sequence[Mapping[str, float]], ks: Sequence[float]) -> list[float]:
        scores = np.array([self._scores(of_vector, k) for of_vector, k in zip(shares, ks, strict=True)])
        listed = scores > 0
        for of_vector, k, row, within in zip(shares, ks, scores, listed, strict=True):
            within &= self._within_cut(row, of_vector, k)
        maps = []
        for of_vector, sums in zip(shares, self._sums(scores, listed), strict=True):
            precision = sums / self._positives
            if self.mode == "google":
                present = self.has[[member in of_vector for member in self.members]].any(axis=0)
                if not present.any():
                    raise ValueError("the members have none of the classes with positives; is the data the same?")
                precision = precision[present]
            maps.append(float(np.mean(precision)))
        return maps

    def _sums(self, scores: np.ndarray, listed: np.ndarray) -> np.ndarray:
        """`precision_sums` of each class by the order of these scores (vectors, classes); to the same bits."""
        classes, width = len(self._classes), int(self._sizes.max())
        if classes * width > 4 * len(self._rows):  # a table of classes would be mostly empty
            sums = []
            for row, within in zip(scores, listed, strict=True):
                order = np.lexsort((-row, self._rows))  # stable: pairs stand in the order of their ids
                sums.append(precision_sums(self._rows[order], self._positive[order], within[order], classes))
            return np.array(sums)
        column = np.arange(len(self._rows)) - (np.cumsum(self._sizes) - self._sizes)[self._rows]
        table = np.full((len(scores), classes, width), np.inf)
        table[:, self._rows, column] = -scores
        positive, counts = np.zeros((2, len(scores), classes, width), dtype=bool)
        positive[:, self._rows, column] = self._positive
        counts[:, self._rows, column] = listed & self._positive
        order = np.argsort(table, axis=2, kind="stable")
        hits = np.cumsum(np.take_along_axis(positive, order, axis=2), axis=2)
        precision = np.where(np.take_along_axis(counts, order, axis=2), hits / np.arange(1, width + 1), 0.0)
        return np.cumsum(precision, axis=2)[:, :, -1]  # one after another, as `precision_sums` adds

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
        votes = np.array([shares.get(member, 0.0) for member in self.members])
        for row in np.unique(self._rows[open_pairs]).tolist():
            of_class = open_pairs[self._rows[open_pairs] == row]
            ids = self.pairs["segment_id"].gather(of_class)
            within[of_class] = self._cut.within(int(self._classes[row]), ids, scores[of_class], votes, k)
        return within


def _reach(blocks: Sequence[Submission], cut: int) -> dict[int, float]:
    """For each class whose members list more than `cut` segments together: the smallest rank R such that more than
    `cut` segments have a member that ranks them at R or better."""
    lists: dict[int, list[np.ndarray]] = {}
    for block in blocks:
        for class_id, codes in block.ranked():
            lists.setdefault(class_id, []).append(codes)
    unlisted = np.iinfo(np.uint32).max
    best = np.full(len(blocks[0].segments), unlisted, dtype=np.uint32)
    limits = {}
    for class_id, ranked in lists.items():
        if min(len(best), sum(len(codes) for codes in ranked)) <= cut:
            continue
        for codes in ranked:
            best[codes] = np.minimum(best[codes], np.arange(1, len(codes) + 1, dtype=np.uint32))
        listed = best[best < unlisted]
        if len(listed) > cut:
            limits[class_id] = float(np.partition(listed, cut)[cut])
        for codes in ranked:
            best[codes] = unlisted
    return limits
