"""MAP of fused members as a function of weights and k, in milliseconds, and exactly that of fusing the full lists.

Only judged pairs decide MAP, so each member's rank of each judged pair is looked up once. What the other segments
could change is the cut at K. It matters for positives alone (a pair that the cut removes stands below all that stay),
and mostly a bound settles it: a segment of score S = 1 / (k + H) is overtaken only by segments that some member ranks
at H or better, for all others fall short of S with every vote. Where at most K segments have such a rank, the pair is
within K, whatever the weights. `reach` is the H from which that is no longer certain, for each class; a positive at or
beyond it is placed by `cut.py`, which looks at as much of the full lists as it needs.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from scoring.average_precision import Mode
from scoring.cut import Cut
from scoring.fusion import check_k, shares_of
from scoring.judgments import last_of_pairs, rows_by_class
from scoring.ranked import K, RankedLists, Submission, class_blocks, share_segments
from scoring.submission import read_together
from scoring.threads import in_threads

TOGETHER = 16  # weight vectors that are scored at a time
HIGHEST = np.iinfo(np.int64).max
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
        self._tables = list(_tables(self.rows, ranks, self.positive))

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
        for k in ks:
            check_k(k)
        votes = np.array([[of_vector.get(member, 0.0) for member in self.members] for of_vector in shares])
        sums = np.empty((len(shares), len(self._classes)))
        for table in self._tables:
            scores = table.scores(votes, ks)
            self._drop_beyond_cut(table, scores, votes, ks)
            sums[:, table.rows] = table.precision_sums(scores)
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

    def _drop_beyond_cut(self, table: "_Table", scores: np.ndarray, votes: np.ndarray, ks: Sequence[float]) -> None:
        """Set the scores of positives that are not among the best K of their class to 0; negatives do not matter."""
        certain = (1 + ROUNDING) / (np.array(ks)[:, None] + self.reach[table.rows])
        in_doubt = table.positive & (scores <= certain[:, :, None]) & (scores > 0)
        for vector in np.flatnonzero(np.count_nonzero(votes, axis=1) == 1):  # one list is its own fusion
            scores[vector][table.ranks[votes[vector] > 0][0] > self.cut] = 0.0
            in_doubt[vector] = False
        vectors, rows, _ = np.nonzero(in_doubt)
        for vector, row in dict.fromkeys(zip(vectors.tolist(), rows.tolist(), strict=True)):
            places = np.flatnonzero(in_doubt[vector, row])
            ids, of_class = self._ids[table.pairs[row, places]], scores[vector, row, places]
            class_id = int(self._classes[int(table.rows[row])])
            within = self._cut.within(class_id, ids, of_class, votes[vector], ks[vector])
            scores[vector, row, places] = np.where(within, of_class, 0.0)


class _Table:
    """Classes of about the same number of judged pairs: a row a class, its pairs in the order of their ids.

    `pairs` (classes, width) are the numbers of the judged pairs, -1 beyond the last of a class; `ranks` (members,
    classes, width) is inf there, so that these score 0 as what no member lists does.

    Sorting whole numbers in place is far quicker than finding the order of floats, so that the score of a pair, its
    place and whether it is positive make one number: the bits of a positive float order as the float does, and the
    lowest of them give way to the place. Where scores are so close that they differ in these alone, the class is
    sorted again by the scores themselves: the result is exact.
    """

    def __init__(self, rows: np.ndarray, pairs: np.ndarray, ranks: np.ndarray, positive: np.ndarray):
        self.rows, self.pairs = rows, pairs
        self.positive = positive[pairs] & (pairs >= 0)
        self.ranks = np.where(pairs >= 0, ranks[:, pairs], np.inf)
        width = pairs.shape[1]
        self._low = np.int64(2 ** (1 + (width - 1).bit_length()) - 1)  # the bits of place and relevance
        self._tags = HIGHEST ^ (2 * np.arange(width) + self.positive)
        self._unlisted = HIGHEST ^ self._low  # keys of a score of 0 begin here

    def scores(self, votes: np.ndarray, ks: Sequence[float]) -> np.ndarray:
        """The fused score of each pair for each vector of votes (vectors, members): (vectors, classes, width)."""
        # The same operations in the same order as in `fuse`: equal to the last bit.
        scores = np.zeros((len(votes), *self.pairs.shape))
        earned = np.empty(self.pairs.shape)
        for of_vector, shares, k in zip(scores, votes, ks, strict=True):
            for share, ranks in zip(shares, self.ranks, strict=True):
                if share > 0:
                    np.add(ranks, k, out=earned)
                    np.divide(share, earned, out=earned)
                    of_vector += earned
        return scores

    def precision_sums(self, scores: np.ndarray) -> np.ndarray:
        """The sum of the precisions at the positives of a score above 0, (vectors, classes); to the same bits as
        `scoring.average_precision.precision_sums`."""
        keys = (scores.view(np.int64) | self._low) ^ self._tags
        keys.sort(axis=2)
        flat = keys.ravel()
        counted = np.flatnonzero((flat & 1).astype(bool) & (flat < self._unlisted))
        sums = _sums(counted, keys.shape)
        at, last = flat[counted], len(flat) - 1
        close = (at ^ flat[np.minimum(counted + 1, last)] <= self._low) & (counted < last)
        close |= (at ^ flat[np.maximum(counted - 1, 0)] <= self._low) & (counted > 0)
        vectors, rows = np.divmod(np.unique(counted[close] // keys.shape[2]), keys.shape[1])
        if len(vectors):
            exact = scores[vectors, rows]
            order = np.argsort(-exact, axis=1, kind="stable")  # of equal scores the first by id
            positive = np.take_along_axis(self.positive[rows] & (exact > 0), order, axis=1)
            sums[vectors, rows] = _sums(np.flatnonzero(positive), (len(rows), 1, keys.shape[2]))[:, 0]
        return sums


def _sums(counted: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The sum of the precisions of each ranked class (vectors, classes), where its positives stand in `shape`."""
    rows = counted // shape[2]
    positives = np.bincount(rows, minlength=shape[0] * shape[1])
    hits = np.arange(1, len(counted) + 1) - (np.cumsum(positives) - positives)[rows]
    # `bincount` adds one after another, best first.
    return np.bincount(rows, hits / (counted - rows * shape[2] + 1), minlength=len(positives)).reshape(shape[:2])


def _tables(rows: np.ndarray, ranks: np.ndarray, positive: np.ndarray) -> Iterator[_Table]:
    """The classes in tables that are nowhere less than three quarters full.

    Args:
        rows: class of each judged pair, as an index from 0, ascending.
    """
    sizes = np.bincount(rows)
    starts = np.cumsum(sizes) - sizes
    left = np.argsort(-sizes, kind="stable")
    while len(left):
        width = int(sizes[left[0]])
        chosen, left = left[sizes[left] >= 0.75 * width], left[sizes[left] < 0.75 * width]
        places = np.arange(width)
        pairs = np.where(places < sizes[chosen][:, None], starts[chosen][:, None] + places, -1)
        yield _Table(chosen, pairs, ranks, positive)


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
