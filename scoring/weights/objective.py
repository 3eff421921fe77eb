"""MAP of fused members as a function of weights and k, in less than a millisecond, equal to the bit to that of the
full fused lists.

Only judged pairs decide MAP, so each member's rank of each judged pair is looked up once. Other segments matter only
through the cutoff, and only for positives, since what the cutoff removes ranks below everything it keeps. A bound
decides most cases: a segment with fused score 1 / (k + H) can only be outranked by segments that at least one member
ranks above H, because all others stay below that score even with every vote. If at most `cutoff` segments have such a
rank, the pair is within the cutoff for any weights. `reach` is the H of each class from which that is uncertain; a
positive at or beyond it is decided by `cut.py`, which reads as much of the full lists as it needs.
"""

from collections.abc import Mapping

import numpy as np
import polars as pl

from scoring.fusion.fusion import check_k, shares_of
from scoring.lists.ids import find_codes, known_codes
from scoring.lists.kernels import certain_reach, pair_scores, sums_of_precisions
from scoring.lists.opening import read_together
from scoring.lists.ranked import K, RankedLists, class_blocks, share_segments
from scoring.lists.threads import in_threads
from scoring.measures.average_precision import Mode
from scoring.weights.cut import Cut
from videos.judgments import last_of_pairs, rows_by_class

ROUNDING = 1e-11  # above the rounding error of a sum of votes, and of shares that sum to 1 within 1e-12


class Objective:
    """The judged pairs of some members' lists, and MAP as a function of the members' weights and k.

    `pairs` has class_id, segment_id, relevance: every judged pair of the classes with a positive, sorted. `rows`
    (pairs) is the class of each, as an index from 0; `positive` (pairs) whether it is relevant; `ranks` (members,
    pairs) f64 is inf where a member does not list a pair; `has` (members, classes) says which member has which class;
    `reach` (classes) f64 is explained above. Members stand in the order of their names.
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
        self.rows = self._classes.search_sorted(pairs["class_id"]).to_numpy()
        self.positive = (pairs["relevance"] > 0).to_numpy()
        self._relevance = self.positive.astype(np.int64)
        self._ends = np.cumsum(np.bincount(self.rows))
        self._positives = np.bincount(self.rows[self.positive])
        self._ids = pairs["segment_id"].to_numpy()
        # The positives that the cutoff can remove, and the reach of their classes.
        self._uncertain = np.flatnonzero(self.positive & np.isfinite(reach[self.rows]))
        self._uncertain_reach = reach[self.rows[self._uncertain]]

    @classmethod
    def of(
        cls, sources: Mapping[str, RankedLists], judgments: pl.DataFrame, cut: int = K, mode: Mode = "strict"
    ) -> "Objective":
        """Look the judged pairs up in the lists, a block of classes at a time."""
        pairs = last_of_pairs(judgments).filter((pl.col("relevance") > 0).any().over("class_id"))
        if pairs.is_empty():
            raise ValueError("the judgments hold no positive (relevance above 0), so there is no MAP; check the file")
        members, places = sorted(sources), rows_by_class(pairs)
        row_of = {class_id: row for row, class_id in enumerate(places)}
        ranks = np.full((len(members), len(pairs)), np.inf)
        has = np.zeros((len(members), len(places)), dtype=bool)
        reach = np.full(len(places), np.inf)

        def look_up(class_ids: list[int]) -> None:
            wanted = [class_id for class_id in class_ids if class_id in places]
            blocks = share_segments(read_together([sources[member] for member in members], wanted))
            segments = blocks[0].segments
            lists = [dict(block.ranked()) for block in blocks]
            for class_id in wanted:
                own, row = places[class_id], row_of[class_id]
                known, codes = known_codes(pairs["segment_id"][own], segments)
                for number, ranked in enumerate(lists):
                    if class_id in ranked:
                        has[number, row] = True
                        own_ranks = ranks[number, own]
                        own_ranks[known] = find_codes(codes[known], ranked[class_id])
                        own_ranks[own_ranks == 0] = np.inf
                listing = [ranked[class_id] for ranked in lists if class_id in ranked]
                reach[row] = (listing and certain_reach(listing, cut, len(segments))) or np.inf

        for _ in in_threads(look_up, class_blocks(sources.values())):
            pass
        return cls(sources, pairs, ranks, has, reach, cut, mode)

    def restrict(self, keep: np.ndarray) -> "Objective":
        """The same over the judged pairs where `keep` (pairs, bool) is true; classes left without a positive go."""
        keep = keep & (np.bincount(self.rows[self.positive & keep], minlength=len(self._classes)) > 0)[self.rows]
        if not keep.any():
            raise ValueError("these pairs hold no positive; choose more of them")
        kept = np.unique(self.rows[keep])
        return Objective(
            {member: self._sources[member] for member in self.members},
            self.pairs.filter(pl.Series(keep)),
            np.ascontiguousarray(self.ranks[:, keep]),
            self.has[:, kept],
            self.reach[kept],
            self.cut,
            self.mode,
            self._cut,
        )

    def map(self, weights: Mapping[str, float] | None, k: float) -> float:
        """MAP of the members fused with these weights and k; exactly that of `fuse` and `mean_average_precision`."""
        return self._map(shares_of(weights, self.members), k)

    def maps(self, weights: np.ndarray, ks: np.ndarray) -> np.ndarray:
        """The same for weight vectors (vectors, members), each with its k (vectors).

        Members are in the order of their names.
        """
        shares = [shares_of(dict(zip(self.members, row, strict=True)), self.members) for row in weights.tolist()]
        return np.array([self._map(*vector) for vector in zip(shares, ks.tolist(), strict=True)])

    def _map(self, shares: Mapping[str, float], k: float) -> float:
        check_k(k)
        votes = np.array([shares.get(member, 0.0) for member in self.members])
        scores = pair_scores(self.ranks, votes, k)
        self._drop_beyond_cutoff(scores, votes, k)
        precision = sums_of_precisions(scores, self._relevance, self._ends) / self._positives
        if self.mode == "google":
            precision = precision[self.has[votes > 0].any(axis=0)]
            if not len(precision):
                raise ValueError("the members have none of the classes with positives; is the data the same?")
        return float(np.mean(precision))

    def _drop_beyond_cutoff(self, scores: np.ndarray, votes: np.ndarray, k: float) -> None:
        """Set the scores (pairs) of positives that are not among the best K of their class to 0."""
        voting = np.flatnonzero(votes)
        if len(voting) == 1:  # one list is its own fusion
            scores[self.ranks[voting[0]] > self.cut] = 0
            return
        uncertain = scores[self._uncertain]
        in_doubt = (uncertain <= (1 + ROUNDING) / (k + self._uncertain_reach)) & (uncertain > 0)
        pairs = self._uncertain[in_doubt]
        for row in np.unique(self.rows[pairs]).tolist():
            own = pairs[self.rows[pairs] == row]
            within = self._cut.within(self._classes[row], self._ids[own], scores[own], votes, k)
            scores[own] *= within
