"""Lists read from uncompressed pages equal those that pyarrow decodes."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.lists.opening import open_submission
from scoring.lists.pages import MARK, pages_of
from scoring.lists.ranked import Submission, from_codes, with_scores
from scoring.lists.writing import write_submission

SEGMENTS = pl.Series("segment_id", [f"v{number:05}:0" for number in range(20_000)])


def written(lists: list[list[int]], folder: Path, scores: bool = False) -> Submission:
    codes = {class_id: np.array(own, dtype=np.uint32) for class_id, own in enumerate(lists)}
    submission = from_codes(codes, SEGMENTS)
    if scores:
        submission = with_scores(submission, [-np.arange(len(own)) / 7 for own in lists])
    write_submission(submission, folder)
    return submission


@settings(deadline=None, max_examples=30)
@given(
    lists=st.lists(st.lists(st.integers(0, 19_999), unique=True, max_size=30), min_size=1, max_size=7),
    scores=st.booleans(),
)
def test_pages_equal_the_decoded_lists(
    tmp_path_factory: pytest.TempPathFactory, lists: list[list[int]], scores: bool
) -> None:
    folder = tmp_path_factory.mktemp("lists") / "submission"
    submission = written(lists, folder, scores)
    assert pages_of(folder / "lists.parquet", pq.ParquetFile(folder / "lists.parquet").metadata) is not None
    opened = open_submission(folder)
    assert opened.read(opened.classes).lists.equals(submission.lists)
    assert pl.read_parquet(folder / "lists.parquet").equals(submission.lists)


def test_a_long_list_is_one_page(tmp_path: Path) -> None:
    longest = [*range(19_999, -1, -1)] * 20  # 1.6 MB: other writers begin a page after 1 MiB
    write_submission(from_codes({3: np.array(longest, dtype=np.uint32)}, SEGMENTS), tmp_path / "long")
    pages = pages_of(tmp_path / "long/lists.parquet", pq.ParquetFile(tmp_path / "long/lists.parquet").metadata)
    assert pages is not None
    read = pages.read(0, 1, np.uint32)
    assert read is not None
    assert read.tolist() == longest


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "lz4"},
        {"compression": "none"},
        {"compression": "none", "use_dictionary": False, "column_encoding": "DELTA_BINARY_PACKED"},
    ],
)
def test_a_marked_file_of_another_writer_is_decoded(tmp_path: Path, options: dict) -> None:
    """pyarrow keeps the mark when it writes a file again, but not the pages."""
    folder = tmp_path / "submission"
    submission = written([[5, 3, 9], [], [*range(2_000)]], folder)
    table = pq.read_table(folder / "lists.parquet")
    assert MARK.items() <= (table.schema.metadata or {}).items()
    pq.write_table(table, folder / "lists.parquet", row_group_size=1, **options)
    opened = open_submission(folder)
    assert opened.read(opened.classes).lists.equals(submission.lists)


def test_values_that_differ_from_the_statistics_are_not_read(tmp_path: Path) -> None:
    written([[7, 19_999, 3]], tmp_path / "submission")
    file = tmp_path / "submission/lists.parquet"
    content = file.read_bytes()
    values = np.array([7, 19_999, 3], dtype=np.uint32)
    damaged = content.replace(values.tobytes(), np.minimum(values, 5_000).tobytes())
    assert damaged != content
    file.write_bytes(damaged)
    pages = pages_of(file, pq.ParquetFile(file).metadata)
    assert pages is not None
    assert pages.read(0, 1, np.uint32) is None
