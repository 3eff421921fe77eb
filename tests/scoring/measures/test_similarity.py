import numpy as np
import polars as pl
import pytest
from scipy.stats import rankdata

from scoring.measures.similarity import clustered_order, similarity
from tests.scoring.generated import submission_of

SEGMENTS = [f"v{number:04}:0" for number in range(1500)]


def test_equal_lists_are_alike_and_reversed_ones_opposite():
    ids = SEGMENTS[:50]
    table = similarity({"a": submission_of({1: ids}), "b": submission_of({1: ids}), "c": submission_of({1: ids[::-1]})})
    assert table["member"].to_list() == ["a", "a", "b", "b", "c", "c"]
    assert table["correlation"].to_list() == pytest.approx([1, -1, 1, -1, -1, -1])
    assert table["overlap_100"].to_list() == [1.0] * 6


def test_is_scipys_correlation_over_the_first_segments_of_all_members():
    rng = np.random.default_rng(3)
    orders = {member: rng.permutation(1500)[:1200] for member in "abc"}
    lists = {member: submission_of({4: [SEGMENTS[i] for i in order]}) for member, order in orders.items()}
    union = sorted(set().union(*(order[:1000].tolist() for order in orders.values())))
    ranks = {
        m: [dict(zip(order.tolist(), range(1, 1201), strict=True)).get(i, 1201) for i in union]
        for m, order in orders.items()
    }
    for row in similarity(lists).iter_rows(named=True):
        one, other = row["member"], row["other"]
        assert row["correlation"] == pytest.approx(np.corrcoef(rankdata(ranks[one]), rankdata(ranks[other]))[0, 1])
        both = set(orders[one][:100].tolist()) & set(orders[other][:100].tolist())
        assert row["overlap_100"] == len(both) / 100


def test_only_classes_that_both_list_count():
    lists = {
        "a": submission_of({1: ["x:0", "y:0"], 2: ["x:0"]}),
        "b": submission_of({1: ["x:0", "y:0"], 3: ["y:0"]}),
        "c": submission_of({5: ["x:0"]}),
    }
    rows = {(row["member"], row["other"]): row for row in similarity(lists).iter_rows(named=True)}
    assert rows["a", "b"]["correlation"] == pytest.approx(1)
    assert rows["a", "b"]["classes"] == 1
    assert (rows["a", "c"]["correlation"], rows["a", "c"]["overlap_100"], rows["a", "c"]["classes"]) == (None, None, 0)


def test_similar_members_are_next_to_each_other():
    rng = np.random.default_rng(0)
    one, other = (rng.permutation(SEGMENTS[:300]).tolist() for _ in range(2))

    def like(ids: list[str]) -> list[str]:
        return [*ids[10:20], *ids[:10], *ids[20:]]

    table = similarity(
        {name: submission_of({1: ids}) for name, ids in zip("abcd", (one, other, like(one), like(other)), strict=True)}
    )
    order = "".join(clustered_order(table))
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset("ac"), frozenset("bd")}
    assert clustered_order(table.filter(pl.col("member") == "a")) == ["a"]
