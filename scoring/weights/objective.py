"""MAP of fused members as a function of weights and k, in milliseconds, and exactly that of fusing the full lists.

Only judged pairs decide MAP, so each member's rank of each judged pair is looked up once. What the other segments
could change is the cut at K. It matters for positives alone (a pair that the cut removes stands below all that stay),
and mostly a bound settles it: a segment of score S = 1 / (k + H) is overtaken only by segments that some member ranks
at H or better, for all others fall short of S with every vote. Where at most K segments have such a rank, the pair is
within K, whatever the weights. `reach` is the H from which that is no longer certain, for each class; a positive at or
beyond it is placed by `cut.py`, which looks at as much of the full lists as it needs.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from scoring.fusion.fusion import check_k, shares_of
from scoring.lists.opening import read_together
from scoring.lists.ranked import K, RankedLists, Submission, class_blocks, share_segments
from scoring.lists.threads import in_threads
from scoring.measures.average_precision import Mode
from scoring.weights.cut import Cut
from scoring.weights.tables import Table, tables_of
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
        self._positives = np.bincount(self.rows[self.positive], minlength=len(self._classes))
        self._ids = pairs["segment_id"].to_numpy()
        self._tables = list(tables_of(self.rows, ranks, self.positive, reach))

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

        def look_up(class_ids: list[int]) -> tuple[list[dict[int, np.ndarray]], dict[int, float]]:
            wanted = {class_id: pairs["segment_id"][places[class_id]] for class_id in class_ids if class_id in places}
            blocks = share_segments(read_together([sources[member] for member in members], list(wanted)))
            return [block.find(wanted) for block in blocks], _reach(blocks, cut)

        for found, limits in in_threads(look_up, class_blocks(sources.values())):
            for number, of_member in enumerate(found):
                for class_id, of_class in of_member.items():
                    has[number, row_of[class_id]] = True
                    ranks[number, places[class_id]] = np.where(of_class > 0, of_class, np.inf)
            for class_id, limit in limits.items():
                reach[row_of[class_id]] = limit
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
            self.ranks[:, keep],
            self.has[:, kept],
            self.reach[kept],
            self.cut,
            self.mode,
            self._cut,
        )

    def map(self, weights: Mapping[str, float] | None, k: float) -> float:
        """MAP of the members fused with these weights and k; exactly that of `fuse` and `mean_average_precision`."""
        return self._maps([shares_of(weights, self.members)], np.array([k]))[0]

    def maps(self, weights: np.ndarray, ks: np.ndarray) -> np.ndarray:
        """The same for many weight vectors (vectors, members) with their k (vectors), which costs less than one by one.

        Members stand in the order of their names.
        """
        shares = [shares_of(dict(zip(self.members, row, strict=True)), self.members) for row in weights.tolist()]
        return np.array(self._maps(shares, ks))

    def _maps(self, shares: Sequence[Mapping[str, float]], ks: np.ndarray) -> list[float]:
        for k in ks.tolist():
            check_k(k)
        votes = np.array([[of_vector.get(member, 0.0) for member in self.members] for of_vector in shares])
        sums = np.empty((len(shares), len(self._classes)))
        for table in self._tables:
            of_table, doubt = table.precision_sums(votes, ks)
            vectors, rows = np.nonzero(doubt)
            if len(vectors):
                scores = table.exact_scores(rows, votes[vectors], ks[vectors])
                self._drop_beyond_cut(table, rows, scores, votes[vectors], ks[vectors])
                of_table[vectors, rows] = table.exact_sums(rows, scores)
            sums[:, table.rows] = of_table
        precision = sums / self._positives
        if self.mode == "strict":
            return [float(np.mean(of_vector)) for of_vector in precision]
        maps = []
        for of_vector, voting in zip(precision, votes > 0, strict=True):
            present = self.has[voting].any(axis=0)
            if not present.any():
                raise ValueError("the members have none of the classes with positives; is the data the same?")
            maps.append(float(np.mean(of_vector[present])))
        return maps

    def _drop_beyond_cut(
        self, table: Table, rows: np.ndarray, scores: np.ndarray, votes: np.ndarray, ks: np.ndarray
    ) -> None:
        """Set the exact scores (n, width) of positives that are not among the best K of their class to 0."""
        alone = np.flatnonzero(np.count_nonzero(votes, axis=1) == 1)  # one list is its own fusion
        scores[alone] *= table.ranks[votes[alone].argmax(axis=1), rows[alone]] <= self.cut
        certain = (1 + ROUNDING) / (ks + table.reach[rows])
        in_doubt = table.positive[rows] & (scores <= certain[:, None]) & (scores > 0)
        in_doubt[alone] = False
        for number in np.flatnonzero(in_doubt.any(axis=1)).tolist():
            places, row = np.flatnonzero(in_doubt[number]), rows[number]
            ids, class_id = self._ids[table.pairs[row, places]], int(self._classes[int(table.rows[row])])
            within = self._cut.within(class_id, ids, scores[number, places], votes[number], float(ks[number]))
            scores[number, places] *= within


def _reach(blocks: Sequence[Submission], cut: int) -> dict[int, float]:
    """For each class whose members list more than `cut` segments together: a rank such that at most `cut` segments have
    a member that ranks them better; the last such rank but for a small part of `cut`."""
    lists: dict[int, list[np.ndarray]] = {}
    for block in blocks:
        for class_id, codes in block.ranked():
            lists.setdefault(class_id, []).append(codes)
    step = max(1, cut // 64)
    seen = np.zeros(len(blocks[0].segments), dtype=bool)
    limits = {}
    for class_id, ranked in lists.items():
        if min(len(seen), sum(len(codes) for codes in ranked)) <= cut:
            continue
        for start in range(0, max(len(codes) for codes in ranked), step):
            for codes in ranked:
                seen[codes[start : start + step]] = True
            if np.count_nonzero(seen) > cut:
                limits[class_id] = float(start + 1)
                break
        seen[:] = False
    return limits
