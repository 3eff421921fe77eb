import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.coding import check_segments, code_texts, first_places, union_of_segments

short_ids = st.text("ab:09é", min_size=1, max_size=3)  # at most 6 bytes: coded as keys
long_ids = st.text("ab:09é", min_size=1, max_size=12)  # some longer than a key: coded as strings


@pytest.mark.parametrize("ids", [short_ids, long_ids], ids=["keys", "strings"])
def test_codes_are_rows_in_the_order_of_bytes(ids):
    @given(st.lists(st.lists(ids, max_size=30), max_size=4), st.sampled_from([" ", "  "]))
    def check(lists, blank):
        codes, segments = code_texts([blank.join(of_list).encode() for of_list in lists])
        assert segments.to_list() == sorted({i for of_list in lists for i in of_list}, key=str.encode)
        assert [segments.gather(of_list).to_list() for of_list in codes] == lists

    check()


def test_many_keys_find_their_rows():
    ids = [f"{number:x}" for number in np.random.default_rng(0).integers(0, 2**31, 50_000)]
    (codes,), segments = code_texts([" ".join(ids).encode()])
    assert segments.gather(codes).to_list() == ids
    check_segments(segments, "the table")


@given(st.lists(st.integers(0, 9), max_size=12))
def test_first_places(codes):
    seen = np.zeros(10, dtype=bool)
    places = first_places(np.array(codes, dtype=np.uint32), seen)
    kept = codes if places is None else [codes[place] for place in places]
    assert kept == list(dict.fromkeys(codes))
    assert not seen.any()


def test_union_of_segments():
    one, two = pl.Series("segment_id", ["a", "c"]), pl.Series("segment_id", ["Z", "c"])
    assert union_of_segments([one, two]).to_list() == ["Z", "a", "c"]
    assert union_of_segments([one, one.clone()]) is one
    assert union_of_segments([]).to_list() == []


@pytest.mark.parametrize("ids", [["b", "a"], ["a", "a"], ["a", None], [1, 2]])
def test_a_table_must_be_sorted_and_distinct(ids):
    with pytest.raises(ValueError, match="the table must hold"):
        check_segments(pl.Series(ids), "the table")
