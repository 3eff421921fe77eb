import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scoring.lists.ids import (
    check_segments,
    code_ids,
    code_texts,
    find_in_text,
    first_places,
    union_of_segments,
)

short_ids = st.text("ab:09é", min_size=1, max_size=3)  # at most 6 bytes: coded as keys
long_ids = st.text("ab:09é", min_size=1, max_size=12)  # some longer than a key: coded as strings


@pytest.mark.parametrize("ids", [short_ids, long_ids], ids=["keys", "strings"])
def test_codes_are_rows_in_the_order_of_bytes(ids):
    @given(st.lists(st.lists(ids, max_size=30), max_size=4), st.sampled_from([" ", "  "]))
    def check(lists, blank):
        check_codes(*code_texts([blank.join(ids).encode() for ids in lists]), lists)
        check_codes(*code_ids([pl.Series(ids, dtype=pl.String) for ids in lists]), lists)

    check()


@given(st.lists(st.lists(st.text("a\0 é", max_size=9), max_size=3), max_size=3))
@example([["a", "a\0"]])
def test_any_strings_are_coded(lists):
    check_codes(*code_ids([pl.Series(ids, dtype=pl.String) for ids in lists]), lists)


def check_codes(codes: list[np.ndarray], segments: pl.Series, lists: list[list[str]]) -> None:
    assert segments.to_list() == sorted({one for ids in lists for one in ids}, key=str.encode)
    assert [segments.gather(list_codes).to_list() for list_codes in codes] == lists


def test_many_keys_find_their_rows():
    ids = [f"{number:x}" for number in np.random.default_rng(0).integers(0, 2**31, 50_000)]
    (codes,), segments = code_texts([" ".join(ids).encode()])
    assert segments.gather(codes).to_list() == ids
    check_segments(segments, "the table")


@given(st.lists(st.integers(0, 9), max_size=12))
def test_first_places(codes):
    places = first_places(np.array(codes, dtype=np.uint32), 10)
    assert (codes if places is None else [codes[place] for place in places]) == list(dict.fromkeys(codes))


@given(st.lists(short_ids | long_ids, max_size=8), st.lists(st.text("ab:\0 é", max_size=10), max_size=6))
def test_ids_are_found_where_a_text_has_them(ids, others):
    wanted = pl.Series("segment_id", [*ids[::2], *others], dtype=pl.String)
    result = find_in_text(" ".join(ids).encode(), wanted)
    if result is None:
        assert max(len(one.encode()) for one in ids) > 8
        return
    ranks, repeats = result
    distinct = list(dict.fromkeys(ids))
    assert ranks.tolist() == [distinct.index(one) + 1 if one in distinct else 0 for one in wanted]
    assert repeats == len(ids) - len(distinct)


def test_union_of_segments():
    one, two = pl.Series("segment_id", ["a", "c"]), pl.Series("segment_id", ["Z", "c"])
    assert union_of_segments([one, two]).to_list() == ["Z", "a", "c"]
    assert union_of_segments([one, one.clone()]) is one
    assert union_of_segments([]).to_list() == []


@pytest.mark.parametrize("ids", [["b", "a"], ["a", "a"], ["a", None], [1, 2]])
def test_a_table_must_be_sorted_and_distinct(ids):
    with pytest.raises(ValueError, match="the table must contain"):
        check_segments(pl.Series(ids), "the table")
