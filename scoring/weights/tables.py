"""The judged pairs of some members' lists as dense tables, and the precision at their positives under any weights.

Most orders are plain in single precision: a positive and a negative whose scores are further apart than any rounding
stand the same way round in double precision. So a table is first scored and sorted in single precision, for many
vectors of votes at a time, a thing that is all additions, comparisons and swaps of whole rows; the classes in which
that leaves an order, or the cut, in doubt are named, and those alone are scored exactly.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

AT_ONCE = 1 << 19  # scores that are sorted together, 2 MiB of them: about what a core's caches hold
NETWORK, FEW = 32, 4096  # a sorting network pays for tables up to this width, where there is much to sort
LARGEST_K, LEAST_SHARE = 1e6, 1e-20  # beyond these, single precision says nothing


class Table:
    """Classes of about the same number of judged pairs: a row a class, its pairs in the order of their ids.

    `rows` (classes) are the numbers of the classes, `pairs` (classes, width) those of the judged pairs, -1 beyond the
    last of a class. `ranks` (members, classes, width) f64 is inf where a member does not list a pair, and beyond the
    last; `positive` (classes, width) is False there. `reach` (classes) is `Objective.reach`.
    """

    def __init__(self, rows: np.ndarray, pairs: np.ndarray, ranks: np.ndarray, positive: np.ndarray, reach: np.ndarray):
        self.rows, self.pairs, self.reach = rows, pairs, reach[rows]
        self.positive = positive[pairs] & (pairs >= 0)
        self.ranks = np.where(pairs >= 0, ranks[:, pairs], np.inf)
        self._ranks = np.ascontiguousarray(self.ranks.swapaxes(1, 2), dtype=np.float32)  # (members, width, classes)
        self._relevance = np.ascontiguousarray(self.positive.T, dtype=np.int32)  # (width, classes)

    def precision_sums(self, votes: np.ndarray, ks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The sum of the precisions at the positives for each vector of votes (vectors, members) with its k (vectors).

        Returns the sums (vectors, classes), and which of them are in doubt (bool): all others are those of the exact
        scores, to the same bits as `scoring.measures.average_precision.precision_sums`.
        """
        sums, doubt = np.empty((len(ks), len(self.rows))), np.ones((len(ks), len(self.rows)), dtype=bool)
        plain = (ks >= 0) & (ks <= LARGEST_K) & (np.where(votes > 0, votes, 1).min(axis=1) >= LEAST_SHARE)
        plain = np.flatnonzero(plain & (np.count_nonzero(votes, axis=1) > 1))  # one list is cut by its own ranks
        step = max(1, AT_ONCE // self.positive.size)
        for start in range(0, len(plain), step):
            chosen = plain[start : start + step]
            sums[chosen], doubt[chosen] = self._quickly(votes[chosen], ks[chosen])
        return sums, doubt

    def _quickly(self, votes: np.ndarray, ks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`precision_sums` in single precision.

        The bits of a positive float order as it does; the last of them gives way to the relevance of the pair.
        """
        width, classes = self._relevance.shape
        keys = self._scores(votes, ks).view(np.int32)
        keys &= -2
        keys |= self._relevance[:, None]
        keys -= keys == 1  # a positive that nobody lists
        # A vote is off by four roundings, a sum by one more a member, and the last bit is another's: of two keys that
        # makes less than this, twice over.
        margin = 4 * (votes.shape[1] + 5)
        cut = (1 / (ks[:, None] + self.reach)).astype(np.float32).view(np.int32).ravel() + margin
        keys = keys.reshape(width, -1)
        by_place = width <= NETWORK and len(cut) >= FEW
        sums, doubt = (_by_place if by_place else _by_class)(keys, cut, margin)
        return sums.reshape(-1, classes), doubt.reshape(-1, classes)

    def _scores(self, votes: np.ndarray, ks: np.ndarray) -> np.ndarray:
        """The fused scores (width, vectors, classes) f32."""
        _, width, classes = self._ranks.shape
        scores = np.empty((width, len(ks), classes), dtype=np.float32)
        earned = np.empty((width, classes), dtype=np.float32)
        for number, (shares, k) in enumerate(zip(votes.astype(np.float32), ks.astype(np.float32), strict=True)):
            total = np.zeros((width, classes), dtype=np.float32)
            for share, ranks in zip(shares, self._ranks, strict=True):
                if share > 0:
                    np.add(ranks, k, out=earned)
                    np.divide(share, earned, out=earned)
                    total += earned
            scores[:, number] = total
        return scores

    def exact_scores(self, rows: np.ndarray, votes: np.ndarray, ks: np.ndarray) -> np.ndarray:
        """The fused scores (n, width) of the n table rows `rows`, each for its own votes (n, members) and k (n)."""
        # In the members' order and in float64, as `fuse` adds: equal to the last bit. A vote of 0 adds 0.
        scores = np.zeros((len(rows), self.pairs.shape[1]))
        for shares, ranks in zip(votes.T, self.ranks, strict=True):
            scores += shares[:, None] / (ks[:, None] + ranks[rows])
        return scores

    def exact_sums(self, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """The sum of the precisions at the positives of a score above 0 of `rows` (n), given the scores (n, width)."""
        order = np.argsort(-scores, axis=1, kind="stable")  # of equal scores the first by id
        ranked = np.take_along_axis(self.positive[rows] & (scores > 0), order, axis=1)
        places = np.arange(1, scores.shape[1] + 1)
        # Added one after another, best first, as `np.bincount` does.
        return np.cumsum(np.where(ranked, np.cumsum(ranked, axis=1) / places, 0.0), axis=1)[:, -1]


def tables_of(rows: np.ndarray, ranks: np.ndarray, positive: np.ndarray, reach: np.ndarray) -> Iterator[Table]:
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
        yield Table(chosen, pairs, ranks, positive, reach)


# Of keys (width, n) and, for each of the n, the key of the cut: the sums of the precisions, and which are in doubt.
# Of many narrow columns a place at a time, of others a column at a time; sums are added up best first in both.


def _by_place(keys: np.ndarray, cut: np.ndarray, margin: int) -> tuple[np.ndarray, np.ndarray]:
    hits, doubt = np.zeros(len(cut), dtype=np.int32), np.zeros(len(cut), dtype=np.int32)  # the last bit of a doubt
    sums, before = np.zeros(len(cut)), None
    for place, key in enumerate(_falling(keys), 1):
        relevant = key & 1
        np.bitwise_or(doubt, relevant, out=doubt, where=key <= cut)
        if before is not None:
            gap = before - key  # odd where one is positive and the other is not
            np.bitwise_or(doubt, gap, out=doubt, where=gap <= margin)
        before = key
        hits += relevant
        sums += relevant * hits / place
    return sums, (doubt & 1).astype(bool)


def _by_class(keys: np.ndarray, cut: np.ndarray, margin: int) -> tuple[np.ndarray, np.ndarray]:
    ordered = np.sort(keys.T, axis=1)[:, ::-1]
    relevant, gaps = ordered & 1, ordered[:, :-1] - ordered[:, 1:]
    doubt = np.any(relevant & (ordered <= cut[:, None]), axis=1)
    doubt |= np.any(gaps & (gaps <= margin), axis=1)
    # Only the places of positives are looked at: few, as a rule.
    columns, places = np.nonzero(relevant)
    starts = np.searchsorted(columns, np.arange(len(cut)))
    hits = np.arange(1, len(columns) + 1) - starts[columns]
    return np.bincount(columns, hits / (places + 1), minlength=len(cut)), doubt


def _falling(keys: np.ndarray) -> list[np.ndarray]:
    """The columns of `keys` (width, n) sorted, the highest first, as a list of rows; `keys` is overwritten."""
    rows, spare = list(keys), np.empty_like(keys[0])
    for one, other in _network(len(rows)):
        # The lower of the two goes to the spare row, whose place the other's takes.
        np.minimum(rows[one], rows[other], out=spare)
        np.maximum(rows[one], rows[other], out=rows[one])
        rows[other], spare = spare, rows[other]
    return rows


@lru_cache
def _network(width: int) -> list[tuple[int, int]]:
    """Batcher's odd-even merge sort (1968): which places are compared and swapped, in turn."""
    comparators = []
    size = 1
    while size < width:
        gap = size
        while gap:
            for start in range(gap % size, width - gap, 2 * gap):
                for one in range(start, min(start + gap, width - gap)):
                    if one // (2 * size) == (one + gap) // (2 * size):
                        comparators.append((one, one + gap))
            gap //= 2
        size *= 2
    return comparators
