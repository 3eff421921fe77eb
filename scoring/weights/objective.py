"""MAP of fused members as a function of weights and k, in less than a millisecond and bit-identical to the MAP of the
full fused lists.

Only judged pairs decide MAP, so each member's rank of each judged pair is looked up once. Other segments matter only
through the cutoff, which can only affect positives, since what it removes ranks below everything it keeps. A bound
decides most cases: a segment with fused score 1 / (k + H) can only be outranked by segments that at least one member
ranks above H, because all others score less even with every vote. If at most `cutoff` segments have such a rank, the
pair is within the cutoff for any weights. `reach` is the H of each class from which that is uncertain; for a positive
at or beyond it `cutoff.py` decides, which reads as much of the full lists as it needs.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import polars as pl

from scoring.fusion.fusion import check_k, shares_of
from scoring.lists.ids import known_codes
from scoring.lists.kernels import (
    certain_reach,
    pair_scores,
    ranks_of_codes,
    sums_of_precisions,
    sums_of_precisions_of_all,
)
from scoring.lists.opening import read_together
from scoring.lists.ranked import ClassId, K, RankedLists, class_blocks, share_segments
from scoring.lists.threads import cores, in_threads
from scoring.measures.average_precision import Mode
from scoring.weights.cutoff import Cutoff
from videos.judgments import Judgments, rows_by_class

TOGETHER = 32  # weight vectors whose scores are in memory at a time, per thread
ROUNDING = 1e-11  # above the rounding error of a sum of votes, and of shares that sum to 1 within 1e-12


class Within(Protocol):
    """Decides about positives in doubt at the cutoff: `Cutoff`, from the full lists."""

    def within(
        self, class_id: ClassId, ids: np.ndarray, scores: np.ndarray, shares: np.ndarray, k: float
    ) -> np.ndarray: ...


class Objective:
    """The judged pairs of some members' lists, and MAP as a function of the members' weights and k.

    `pairs` has class_id, segment_id, relevance: every judged pair of the classes with a positive, sorted. `rows`
    (pairs) is the class of each, as an index from 0, and `units` (pairs) its video or class, the unit of halving;
    `positive` (pairs) is true for relevant pairs; `ranks` (members, pairs) f64 is inf if the member does not list the
    pair; `has` (members, classes) is true if the member has the class; `reach` (classes) f64 is explained above.
    Members are ordered by name.
    """

    def __init__(
        self,
        members: Sequence[str],
        pairs: pl.DataFrame,
        units: np.ndarray,
        ranks: np.ndarray,
        has: np.ndarray,
        reach: np.ndarray,
        cutoff: int,
        mode: Mode,
        lists: Within,
    ):
        self.members = tuple(members)
        self.pairs, self.units, self.ranks, self.has, self.reach = pairs, units, ranks, has, reach
        self.cutoff = cutoff
        self.mode: Mode = mode
        self._lists = lists
        self.rows = pairs["class_id"].rle_id().to_numpy().astype(np.int64)
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
        cls, sources: Mapping[str, RankedLists], judgments: Judgments, *, cutoff: int = K, mode: Mode = "strict"
    ) -> "Objective":
        """Look the judged pairs up in the lists, a block of classes at a time."""
        pairs = judgments.scored
        members, class_pairs = sorted(sources), rows_by_class(pairs)
        rows = {class_id: row for row, class_id in enumerate(class_pairs)}
        ranks = np.full((len(members), len(pairs)), np.inf)
        has = np.zeros((len(members), len(rows)), dtype=bool)
        reach = np.full(len(rows), np.inf)

        def look_up(class_ids: list[int]) -> None:
            wanted = [class_id for class_id in class_ids if class_id in rows]
            blocks = share_segments(read_together([sources[member] for member in members], wanted))
            segments = blocks[0].segments
            lists = [dict(block.ranked()) for block in blocks]
            for class_id in wanted:
                places, row = class_pairs[class_id], rows[class_id]
                known, codes = known_codes(pairs["segment_id"][places], segments)
                for number, ranked in enumerate(lists):
                    if class_id in ranked:
                        has[number, row] = True
                        pair_ranks = ranks[number, places]
                        pair_ranks[known] = ranks_of_codes(codes[known], ranked[class_id])
                        pair_ranks[pair_ranks == 0] = np.inf
                listing = [ranked[class_id] for ranked in lists if class_id in ranked]
                reach[row] = (listing and certain_reach(listing, cutoff, len(segments))) or np.inf

        for _ in in_threads(look_up, class_blocks(sources.values())):
            pass
        return cls(members, pairs, judgments.units, ranks, has, reach, cutoff, mode, Cutoff(sources, cutoff))

    def restrict(self, keep: np.ndarray) -> "Objective":
        """The objective of the judged pairs for which `keep` (pairs, bool) is true, without classes that lose all
        positives; ValueError if no positive is left."""
        keep = keep & (np.bincount(self.rows[self.positive & keep], minlength=len(self._ends)) > 0)[self.rows]
        if not keep.any():
            raise ValueError("these pairs have no positive; choose more of them")
        classes = np.unique(self.rows[keep])
        return Objective(
            self.members,
            self.pairs.filter(pl.Series(keep)),
            self.units[keep],
            np.ascontiguousarray(self.ranks[:, keep]),
            self.has[:, classes],
            self.reach[classes],
            self.cutoff,
            self.mode,
            self._lists,
        )

    def map(self, weights: Mapping[str, float] | None, k: float) -> float:
        """MAP of the members fused with these weights and k; exactly that of `fuse` and `mean_average_precision`."""
        votes = self._votes(weights)
        return self._mean(sums_of_precisions(self._scores(votes, k), self._relevance, self._ends), votes)

    def fused_ranks(self, weights: Mapping[str, float] | None, k: float) -> pl.DataFrame:
        """Ranks of the judged pairs among each other: the listed rows of `pairs`, with rank u32 per class, best first.

        AP and its resamples depend on these ranks alone, as they do on the ranks in the whole lists.
        """
        scores = self._scores(self._votes(weights), k)
        order = np.lexsort((-scores, self.rows))  # stable: equal scores stay in the order of their ids
        order = order[scores[order] > 0]
        return self.pairs[order].with_columns(
            rank=pl.int_range(1, pl.len() + 1, dtype=pl.UInt32).over("class_id"),
        )

    def maps(self, weights: np.ndarray, ks: np.ndarray) -> np.ndarray:
        """`map` of weight vectors (vectors, members), each with its k (vectors)."""

        def score(rows: np.ndarray) -> list[float]:
            votes = [self._votes(dict(zip(self.members, weights[row].tolist(), strict=True))) for row in rows]
            scores = np.array(
                [self._scores(votes_of_one, float(k)) for votes_of_one, k in zip(votes, ks[rows], strict=True)]
            )
            sums = sums_of_precisions_of_all(scores, self._relevance, self._ends)
            return [self._mean(*one) for one in zip(sums, votes, strict=True)]

        parts = np.array_split(np.arange(len(ks)), max(min(cores(), len(ks)), math.ceil(len(ks) / TOGETHER)))
        return np.concatenate(list(in_threads(score, parts)))

    def _votes(self, weights: Mapping[str, float] | None) -> np.ndarray:
        """The share of each member (members); 0 for one that does not vote."""
        shares = shares_of(weights, self.members)
        return np.array([shares.get(member, 0.0) for member in self.members])

    def _scores(self, votes: np.ndarray, k: float) -> np.ndarray:
        """The fused score of each pair (pairs); 0 for a positive beyond the cutoff."""
        check_k(k)
        scores = pair_scores(self.ranks, votes, k)
        self._drop_beyond_cutoff(scores, votes, k)
        return scores

    def _mean(self, sums: np.ndarray, votes: np.ndarray) -> float:
        """MAP from the sum of precisions of each class (classes)."""
        precision = sums / self._positives
        if self.mode == "google":
            precision = precision[self.has[votes > 0].any(axis=0)]
            if not len(precision):
                raise ValueError("the members have none of the classes with positives; is the data the same?")
        return float(np.mean(precision))

    def _drop_beyond_cutoff(self, scores: np.ndarray, votes: np.ndarray, k: float) -> None:
        """Set the scores (pairs) of positives beyond the cutoff of their class to 0."""
        voting = np.flatnonzero(votes)
        if len(voting) == 1:  # one list is its own fusion
            scores[self.ranks[voting[0]] > self.cutoff] = 0
            return
        uncertain = scores[self._uncertain]
        in_doubt = (uncertain <= (1 + ROUNDING) / (k + self._uncertain_reach)) & (uncertain > 0)
        pairs = self._uncertain[in_doubt]
        for row in np.unique(self.rows[pairs]).tolist():
            in_class = pairs[self.rows[pairs] == row]
            class_id = self.pairs["class_id"][int(in_class[0])]
            scores[in_class] *= self._lists.within(class_id, self._ids[in_class], scores[in_class], votes, k)
