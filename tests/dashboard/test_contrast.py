import polars as pl
import pytest

from dashboard import contrast
from dashboard.contrast import FUSED

PAIRS = pl.DataFrame(
    {
        "class_id": pl.Series([0, 0, 0, 1, 1], dtype=pl.UInt16),
        "segment_id": ["a:0", "b:0", "c:0", "a:0", "b:0"],
        "relevance": pl.Series([1, 0, 1, 1, 0], dtype=pl.Int16),
        "rank": pl.Series([1, 3, 2, 2, 1], dtype=pl.UInt32),
        "rank/x": pl.Series([1, 2, 2000, 1, 2], dtype=pl.UInt32),
        "rank/y": pl.Series([2, 1, None, 1, 2], dtype=pl.UInt32),
    }
)
# Of class 0; `d:0` is not judged.
TOP = pl.DataFrame(
    {
        "member": ["x", "x", "x", "y", "y", "y"],
        "rank": pl.Series([1, 2, 3, 1, 2, 3], dtype=pl.UInt32),
        "segment_id": ["a:0", "b:0", "d:0", "b:0", "a:0", "e:0"],
    }
)


def test_classes_are_ordered_by_contrast_with_the_ap_of_both() -> None:
    table = contrast.contrast(PAIRS, "x", "y")
    assert table.select("class_id", "positives").rows() == [(0, 2), (1, 1)]
    # Class 0 in x: positives first and third of the judged; in y: one is second, one is not listed.
    assert table["one"].to_list() == pytest.approx([(1 + 2 / 3) / 2, 1.0])
    assert table["other"].to_list() == pytest.approx([(1 / 2) / 2, 1.0])
    assert table["change"].to_list() == pytest.approx([1 / 4 - 5 / 6, 0.0])
    assert contrast.class_scores(PAIRS, FUSED)["ap"].to_list() == [1.0, 0.5]


def test_first_segments_are_fused_by_their_ranks_and_equal_scores_by_id() -> None:
    fused = contrast.fused_top(TOP, {"x": 0.5, "y": 0.5, "unknown": 1.0}, 5.0)
    # a: 1/6 + 1/7, b: 1/7 + 1/6 (equal), d and e: 1/8 (equal).
    assert fused.rows() == [(1, "a:0"), (2, "b:0"), (3, "d:0"), (4, "e:0")]
    assert contrast.fused_top(TOP, {"x": 0.0, "y": 1.0}, 5.0)["segment_id"].to_list() == ["b:0", "a:0", "e:0"]
    assert contrast.fused_top(TOP, {"x": 0.0}, 5.0).is_empty()


def test_both_lists_side_by_side_say_what_is_judged_and_who_moved_where() -> None:
    moved = contrast.moves(TOP, PAIRS.filter(pl.col("class_id") == 0), "x", "y", length=2)
    assert moved.rows() == [("b:0", "no", 2, 1, 1), ("a:0", "yes", 1, 2, -1)]
    longer = contrast.moves(TOP, PAIRS.filter(pl.col("class_id") == 0), "x", "y", length=3)
    assert longer.rows()[2:] == [("e:0", "unjudged", None, 3, None), ("d:0", "unjudged", 3, None, None)]


def test_a_judged_segment_beyond_the_first_has_its_rank_from_the_judged_pairs() -> None:
    top = pl.concat([TOP, pl.DataFrame({"member": ["y"], "rank": [4], "segment_id": ["c:0"]}, schema=TOP.schema)])
    moved = contrast.moves(top, PAIRS.filter(pl.col("class_id") == 0), "x", "y", length=4)
    assert moved.filter(pl.col("segment_id") == "c:0").rows() == [("c:0", "yes", 2000, 4, 1996)]


def test_lists_are_side_by_side_with_the_fused_one_first_and_judged_ones_marked() -> None:
    top = pl.concat([TOP, TOP.filter(pl.col("member") == "x").with_columns(member=pl.lit(FUSED))])
    table = contrast.side_by_side(top, PAIRS.filter(pl.col("class_id") == 0), length=2)
    assert table.columns == ["rank", FUSED, "x", "y"]
    assert table.rows() == [(1, "a:0  ✓", "a:0  ✓", "b:0  ✗"), (2, "b:0  ✗", "b:0  ✗", "a:0  ✓")]
