"""How alike the members rank: rank correlation and overlap of their lists, as means over classes."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from scoring.lists.opening import read_together
from scoring.lists.ranked import ClassId, RankedLists, class_blocks, share_segments
from scoring.lists.threads import in_threads

SIMILARITY_FILE = "similarity.parquet"
DEPTH = 1000  # of the lists that are compared
OVERLAPS = (100, 1000)

SIMILARITY = pl.Schema(
    {
        "member": pl.String,
        "other": pl.String,
        "correlation": pl.Float64,
        **{f"overlap_{depth}": pl.Float64 for depth in OVERLAPS},
        "classes": pl.UInt32,
    }
)


def similarity(sources: Mapping[str, RankedLists]) -> pl.DataFrame:
    """Similarity of each member to each other one, as the mean over the classes that both list.

    Returns:
        One row per ordered pair of different members, sorted: member, other, correlation, overlap_100, overlap_1000
        (f64), classes u32. `correlation` is Spearman's rank correlation over the segments that any member ranks within
        1,000; those that a member does not list share its last ranks. It is null if every class leaves it undefined.
        `overlap_n` is the share of the first n segments of the longer list that both have among their first n.
    """
    members = sorted(sources)

    def compare(class_ids: list[ClassId]) -> list[tuple[np.ndarray, np.ndarray]]:
        blocks = share_segments(read_together([sources[member] for member in members], class_ids))
        lists = [dict(block.ranked()) for block in blocks]
        none = np.empty(0, dtype=np.uint32)
        return [compare_lists([ranked.get(class_id, none) for ranked in lists]) for class_id in class_ids]

    size = len(members)
    sums = np.zeros((1 + len(OVERLAPS), size, size))
    counts = np.zeros_like(sums)
    for compared in in_threads(compare, class_blocks(sources.values())):
        for values, both in compared:
            defined = both & ~np.isnan(values)
            sums += np.where(defined, values, 0.0)
            counts += defined
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    rows = [
        (members[one], members[other], *means[:, one, other].tolist(), int(counts[1, one, other]))
        for one in range(size)
        for other in range(size)
        if one != other
    ]
    return pl.DataFrame(rows, SIMILARITY, orient="row").with_columns(pl.col(pl.Float64).fill_nan(None))


def compare_lists(lists: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Correlation and overlaps of the lists of one class.

    Args:
        lists: Per member, distinct codes, best first.

    Returns:
        Values (1 + overlaps, members, members) f64, nan where undefined: the correlation, then the overlap at each of
        `OVERLAPS`; and whether both members list the class (members, members).
    """
    first = np.unique(np.concatenate([codes[:DEPTH] for codes in lists]))
    ranks = np.full((len(lists), len(first)), np.inf)
    places = np.zeros(max((int(codes.max(initial=0)) for codes in lists), default=0) + 1, dtype=np.uint32)
    for row, codes in zip(ranks, lists, strict=True):
        places[codes] = np.arange(1, len(codes) + 1)
        row_places = places[first]
        row[row_places > 0] = row_places[row_places > 0]
        places[codes] = 0
    present = np.array([len(codes) > 0 for codes in lists])
    both = present[:, None] & present
    values = [_correlations(ranks)]
    lengths = np.array([len(codes) for codes in lists])
    for depth in OVERLAPS:
        within = (ranks <= depth).astype(np.float64)
        longest = np.minimum(np.maximum(lengths[:, None], lengths), depth)
        values.append(np.divide(within @ within.T, longest, out=np.full(both.shape, np.nan), where=longest > 0))
    return np.stack(values), both


def _correlations(ranks: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each two rows; nan for a row without variance."""
    places = np.empty_like(ranks)
    for row, row_ranks in zip(places, ranks, strict=True):
        row[np.argsort(row_ranks, kind="stable")] = np.arange(ranks.shape[1])
        missing = np.isinf(row_ranks)
        if missing.any():
            row[missing] = row[missing].mean()
    centred = places - places.mean(axis=1, keepdims=True) if ranks.shape[1] else places
    norms = np.sqrt((centred**2).sum(axis=1))
    norms = norms[:, None] * norms
    return np.divide(centred @ centred.T, norms, out=np.full(norms.shape, np.nan), where=norms > 0)


def clustered_order(table: pl.DataFrame, value: str = "correlation") -> list[str]:
    """The members of a table of `similarity`, similar ones next to each other.

    Average linkage over 1 minus `value`, a column of the table; undefined values count as 0.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage  # takes half a second to load
    from scipy.spatial.distance import squareform

    members = sorted(set(table["member"]))
    if len(members) < 3:
        return members
    distances = np.ones((len(members), len(members)))
    rows = {member: row for row, member in enumerate(members)}
    for one, other, alike in table.select("member", "other", value).iter_rows():
        distances[rows[one], rows[other]] = 1 - (alike or 0.0)
    np.fill_diagonal(distances, 0.0)
    return [members[leaf] for leaf in leaves_list(linkage(squareform(distances, checks=False), "average"))]
