"""Judgments as people have them: read as docs/scoring.md says, or refused in one sentence."""

import gzip
import json
import re

import polars as pl
import pytest

from scoring.measures.average_precision import mean_average_precision
from tests.scoring.generated import judgments_of, submission_of
from tests.scoring.malformed.conftest import LISTS, LONG, RELEVANCE, is_one_sentence, place

COLUMNS = b"class_id,segment_id,relevance\n"
PAIRS = COLUMNS + b"1,a:0,1\n1,b:0,0\n2,c:0,1\n"
JUDGMENTS_REFUSED = {
    "missing column": ("j.csv", b"class_id,segment_id\n1,a:0\n", r"lacks \['relevance'\]"),
    "no header": ("j.csv", PAIRS[len(COLUMNS) :], "lacks"),
    "a header of a million characters": ("j.csv", LONG + b"\n1\n", "lacks .*xxx"),
    "empty": ("j.csv", b"", "is empty"),
    "header alone": ("j.csv", COLUMNS, "has no judgments"),
    "relevance in words": ("j.csv", PAIRS + b"2,d:0,yes\n", "row 4: relevance is 'yes', .*; correct it"),
    "relevance with a fraction": ("j.csv", PAIRS + b"2,d:0,0.5\n", "row 4: relevance is '0.5'"),
    "relevance too large": ("j.csv", PAIRS + b"2,d:0,99999\n", "row 4: relevance is '99999'"),
    "relevance of a million characters": ("j.csv", PAIRS + b"2,d:0," + LONG + b"\n", "row 4: relevance is 'xxx"),
    "no segment": ("j.csv", PAIRS + b"2,,1\n", "row 4: segment_id is None"),
    "blank before the segment": ("j.csv", COLUMNS + b"\n1, a:0,1\n", "row 2: segment_id is ' a:0'"),
    "a field too few": ("j.csv", PAIRS + b"2,d:0\n", "row 4: relevance is None"),
    "a field too many": ("j.csv", PAIRS + b"2,d:0,1," + LONG + b"\n", "cannot be read as CSV"),
    "an open quote": ("j.csv", PAIRS + b'2,"d:0,1\n', "cannot be read as CSV"),
    "CR alone": ("j.csv", PAIRS.replace(b"\n", b"\r"), "lacks"),
    "not UTF-8": ("j.csv", PAIRS + b"2,\xff,1\n", "is not UTF-8 text"),
    "truncated gzip": ("j.csv.gz", gzip.compress(PAIRS)[:-9], "damaged gzip"),
    "text named Parquet": ("j.parquet", PAIRS, "cannot be read as Parquet"),
    "fractions in Parquet": ("j.parquet", pl.DataFrame({"class_id": [1], "segment_id": ["a"], "relevance": [0.5]}),
                             "row 1: relevance is '0.5', which is no Int16"),
    "lists in Parquet": ("j.parquet", pl.DataFrame({"class_id": [1], "segment_id": [["a"]], "relevance": [1]}),
                         r"segment_id is List\(String\); write text"),
    "classes in bytes": ("j.parquet", pl.DataFrame({"class_id": [b"1"], "segment_id": ["a"], "relevance": [1]}),
                         "class_id is Binary; write integers or text"),
    "empty id in Parquet": ("j.parquet", pl.DataFrame({"class_id": [1], "segment_id": [""], "relevance": [1]}),
                            "row 1: segment_id is ''"),
    "qrels with three fields": ("j.txt", b"1 0 a:0\n", "line 1 has 3 fields"),
    "qrels with a fraction": ("j.txt", b"1 0 a:0 1\n1 0 b:0 0.5\n", "line 2: the relevance is no 16-bit integer"),
    "qrels of a million characters": ("j.txt", b"1 0 a:0 " + LONG + b"\n", "line 1: the relevance is no 16-bit"),
    "no positives": ("j.csv", COLUMNS + b"1,a:0,0\n", "no positive .*; check the file"),
    "a folder": ("data", b"", "is no file"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "complaint"), JUDGMENTS_REFUSED.values(), ids=JUDGMENTS_REFUSED)
def test_malformed_judgments_are_refused(name, content, complaint, scoring, files):
    if name != "data":
        place(files / name, content.write_parquet if isinstance(content, pl.DataFrame) else content)
    code, out, err = scoring("evaluate", "good.csv", name, *(["--format", "trec"] if name == "j.txt" else []))
    assert (code, out) == (1, "")
    assert is_one_sentence(err), err[:2000]
    assert re.search(complaint, err), err
    assert name in err


AGAIN = "1 repetition of a judged pair; the last judgment of a pair counts"


@pytest.mark.parametrize(
    ("name", "content", "warning"),
    [
        ("j.csv", PAIRS.replace(b"\n", b"\r\n"), ""),
        ("j.csv", b"\xef\xbb\xbf" + PAIRS, ""),
        ("j.csv", gzip.compress(PAIRS), ""),
        ("j.csv", PAIRS.replace(b"\n", b"\n\n") + b"\n", ""),
        ("j.csv", PAIRS.replace(b"1,a:0,1", b"1,a:0,0") + b"1,a:0,1\n", f"j.csv: {AGAIN}"),
        ("j.txt", b"1 0 a:0 0\n1 0 b:0 0\n2 0 c:0 1\n1 0 a:0 1\n", f"j.txt: {AGAIN}"),
    ],
    ids=["CRLF", "byte order mark", "gzip", "blank lines", "pair twice", "pair twice, qrels"],
)
def test_peculiar_judgments_are_read_as_documented(name, content, warning, scoring, files):
    place(files / name, content)
    trec = ["--format", "trec"] if name == "j.txt" else []
    code, out, err = scoring("evaluate", "good.csv", name, "--json", *trec)
    assert (code, err.rstrip("\n")) == (0, warning)
    expected = mean_average_precision(submission_of(LISTS), judgments_of(RELEVANCE))
    assert json.loads(out)["map"] == expected.map
    assert json.loads(out)["judged"] == 3
