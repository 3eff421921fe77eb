import contextlib
import gzip

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.lists.judgments import read_judgments
from videos.judgments import JUDGMENTS

CSV = "class_id,segment_id,relevance\n7,b:0,1\n3,a:0,0\n7,b:0,0\n7,a:0,2\n"
ROWS = [(3, "a:0", 0), (7, "a:0", 2), (7, "b:0", 0)]  # the last of a pair counts


@pytest.mark.parametrize("form", ["csv", "csv.gz", "bom", "crlf", "parquet", "trec"])
def test_every_form_reads_alike(form, tmp_path):
    path = tmp_path / "judgments.csv"
    if form == "csv.gz":
        path = tmp_path / "judgments.csv.gz"
        path.write_bytes(gzip.compress(CSV.encode()))
    elif form == "parquet":
        path = tmp_path / "judgments.parquet"
        pl.read_csv(CSV.encode()).write_parquet(path)
    elif form == "trec":
        path = tmp_path / "qrels.txt"
        path.write_text("7 0 b:0 1\n3\t0\ta:0\t0\n7 0 b:0 0\n7 0 a:0 2\n")
    else:
        text = CSV.replace("\n", "\r\n") if form == "crlf" else CSV
        path.write_bytes(text.encode("utf-8-sig" if form == "bom" else "utf-8"))
    judgments = read_judgments(path, "trec" if form == "trec" else None).pairs
    assert judgments.schema == JUDGMENTS
    assert judgments.rows() == ROWS


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="is no file"):
        read_judgments(tmp_path / "nowhere.csv")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match="no known format"):
        read_judgments(tmp_path / "notes.txt")


@pytest.mark.parametrize(("name", "format"), [("x.csv", None), ("x.parquet", None), ("x.qrels", "trec")])
def test_garbage_is_read_or_refused_and_never_more(name, format, tmp_path_factory):
    path = tmp_path_factory.mktemp("garbage") / name
    fragments = [b"class_id,segment_id,relevance", b"\n", b"\r", b",", b" ", b"1", b"a:0", b'"', b"\xff", b"\0", b"-5"]

    @given(st.one_of(st.binary(max_size=60), st.lists(st.sampled_from(fragments), max_size=20).map(b"".join)))
    def check(content):
        path.write_bytes(content)
        with contextlib.suppress(ValueError):
            assert read_judgments(path, format).pairs.schema == JUDGMENTS

    check()
