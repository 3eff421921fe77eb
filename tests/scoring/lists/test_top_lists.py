from pathlib import Path

import polars as pl
import pytest

from scoring.lists.ids import union_of_segments
from scoring.lists.top_lists import TOP_SEGMENTS, TopLists, read_top
from tests.scoring.generated import submission_of


def test_the_first_segments_come_back_from_lists_with_different_tables(tmp_path: Path):
    lists = {
        "a": {1: ["z:0", "b:0", "y:0"], 2: ["b:0"]},
        "b": {1: ["c:0", *(f"v{number:04}:0" for number in range(1500))], 3: []},
    }
    top_lists = TopLists()
    for member, ranked in lists.items():
        submission = submission_of(ranked)
        larger = union_of_segments([submission.segments, pl.Series("segment_id", ["a:0"])])
        passed = list(top_lists.collect(member, iter([submission]), larger))
        assert passed == [submission]
    top_lists.write(tmp_path)
    for class_id in (1, 2, 3, 4):
        first = read_top(tmp_path, class_id)
        expected = [
            (member, rank, segment)
            for member, ranked in lists.items()
            for rank, segment in enumerate(ranked.get(class_id, [])[:1000], 1)
        ]
        assert first.rows() == expected
    ids = pl.read_parquet(tmp_path / TOP_SEGMENTS)["segment_id"]
    assert len(ids) == 3 + 1000  # none that no list has among its first


def test_nothing_to_write_is_an_error(tmp_path: Path):
    with pytest.raises(ValueError, match="merge at least one member"):
        TopLists().write(tmp_path)
