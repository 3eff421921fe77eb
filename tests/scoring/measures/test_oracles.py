"""Oracles and sensitivity, compared with slow plain versions."""

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scoring.measures import oracles
from scoring.measures.oracles import MOMENT, NEIGHBOUR, ORACLES, UNLISTED, VIDEO

SCHEMA = {"class_id": pl.UInt16, "segment_id": pl.String, "relevance": pl.Int16, "rank": pl.UInt32}
Pair = tuple[int, str, int, int | None]

judged = st.dictionaries(
    st.tuples(st.integers(0, 2), st.sampled_from(["a", "b", "c"]), st.integers(0, 5)), st.integers(0, 1), max_size=30
)


def table(pairs: list[Pair]) -> pl.DataFrame:
    return pl.DataFrame(pairs, SCHEMA, orient="row")


def plain_map(pairs: list[Pair]) -> float:
    values = []
    for class_id in sorted({pair[0] for pair in pairs}):
        own = sorted((p for p in pairs if p[0] == class_id and p[3] is not None), key=lambda p: (p[3], p[1]))
        hits, total = 0, 0.0
        for place, pair in enumerate(own, 1):
            hits += pair[2]
            total += pair[2] * hits / place
        if positives := sum(p[2] for p in pairs if p[0] == class_id):
            values.append(total / positives)
    return sum(values) / len(values)


def plain_kind(pair: Pair, pairs: list[Pair], length: int) -> str | None:
    video, start = pair[1].split(":")
    own = [int(p[1].split(":")[1]) for p in pairs if p[0] == pair[0] and p[2] and p[1].split(":")[0] == video]
    if pair[2]:
        return None
    if int(start) - length in own or int(start) + length in own:
        return NEIGHBOUR
    return MOMENT if own else VIDEO


@given(judged, st.data())
def test_oracles_are_the_plain_arithmetic(relevance, data):
    with_positive = {class_id for (class_id, _, _), value in relevance.items() if value}
    assume(with_positive)
    pairs: list[Pair] = []
    for class_id in sorted(with_positive):
        own = sorted(key for key in relevance if key[0] == class_id)
        ranks = data.draw(st.permutations(range(1, len(own) + 1)))
        shown = data.draw(st.lists(st.booleans(), min_size=len(own), max_size=len(own)))
        for (_, video, number), rank, is_listed in zip(own, ranks, shown, strict=True):
            value = relevance[class_id, video, number]
            pairs.append((class_id, f"{video}:{5 * number}", value, rank if is_listed else None))
    made = table(pairs)
    assert oracles.map_of(made) == pytest.approx(plain_map(pairs))
    length = oracles.segment_length(made)
    kinds = [plain_kind(pair, pairs, length) for pair in pairs]
    assert oracles.with_kinds(made)["kind"].to_list() == kinds
    expected = {
        kind: plain_map([pair for pair, own in zip(pairs, kinds, strict=True) if own != kind])
        for kind in (NEIGHBOUR, MOMENT, VIDEO)
    }
    expected[UNLISTED] = plain_map([(c, s, v, 0 if v and rank is None else rank) for c, s, v, rank in pairs])
    found = oracles.oracles(made)
    assert found["oracle"].to_list() == list(ORACLES)
    assert found["map"].to_list() == pytest.approx([expected[oracle] for oracle in ORACLES])
    assert (found["gain"].to_numpy() > -1e-12).all()
    errors = [sum(own == kind and p[3] is not None for p, own in zip(pairs, kinds, strict=True)) for kind in expected]
    errors[-1] = sum(value == 1 and rank is None for _, _, value, rank in pairs)
    assert found["errors"].to_list() == errors

    precision = oracles.sensitivity(made)
    positives = sum(value for _, _, value, _ in pairs)
    for trait in (oracles.POSITIVES, oracles.SHARE, oracles.POSITION):
        own = precision.filter(trait=trait)
        assert own["positives"].sum() == positives
        mean = np.average(own["precision"].to_numpy(), weights=own["positives"].to_numpy())
        assert mean == pytest.approx(oracles.with_precisions(made).filter(pl.col("relevance") > 0)["precision"].mean())


def test_each_oracle_cures_its_own_error():
    """a:5 occurs; a:0 is beside it, a:20 of the wrong moment, b:0 of another video; a:40 occurs and is not listed."""
    pairs = [(1, "a:0", 0, 1), (1, "a:20", 0, 2), (1, "b:0", 0, 3), (1, "a:5", 1, 4), (1, "a:40", 1, None)]
    found = dict(oracles.oracles(table(pairs)).select("oracle", "map").iter_rows())
    assert oracles.map_of(table(pairs)) == pytest.approx((1 / 4 + 0) / 2)
    assert found[NEIGHBOUR] == found[MOMENT] == found[VIDEO] == pytest.approx((1 / 3 + 0) / 2)
    assert found[UNLISTED] == pytest.approx((1 + 2 / 5) / 2)


def test_traits_of_positives_are_binned():
    pairs = [(1, "a:0", 1, 1), (1, "a:5", 0, 2), (2, "b:0", 1, 1), (2, "b:95", 1, 2), (2, "b:50", 1, None)]
    rows = oracles.sensitivity(table(pairs)).rows()
    assert rows == [
        (oracles.POSITIVES, "1 to 2", 1, 1.0),
        (oracles.POSITIVES, "3 to 5", 3, pytest.approx(2 / 3)),
        (oracles.SHARE, "25 to 50 %", 1, 1.0),
        (oracles.SHARE, "75 to 100 %", 3, pytest.approx(2 / 3)),
        (oracles.POSITION, "first quarter", 2, 1.0),
        (oracles.POSITION, "third quarter", 1, 0.0),
        (oracles.POSITION, "last quarter", 1, 1.0),
    ]
