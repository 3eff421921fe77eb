import contextlib
import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.ranked import rank_within_class
from scoring.submission import open_submission, rank_scores, read_submission, write_submission
from tests.scoring.lists import ids_of, submission_of

SUFFIXES = ["", ".parquet", ".csv", ".csv.gz"]


segment_ids = st.from_regex(r"[a-dZé]{1,3}:[0-9]{1,2}", fullmatch=True)
submissions = st.dictionaries(
    st.integers(0, 65535), st.lists(segment_ids, max_size=6, unique=True), min_size=1, max_size=4
)


@given(submissions)
def test_codes_keep_order_and_compare_as_utf8_bytes(lists):
    submission = submission_of(lists)
    assert ids_of(submission) == dict(sorted(lists.items()))
    ids = submission.segments.to_list()
    assert ids == sorted(set(ids), key=str.encode)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_form_round_trips(suffix, tmp_path_factory):
    @given(submissions)
    def round_trip(lists):
        path = tmp_path_factory.mktemp("round") / f"submission{suffix}"
        write_submission(submission_of(lists), path)
        assert ids_of(read_submission(path)) == dict(sorted(lists.items()))
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]

    round_trip()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_writing_again_replaces(suffix, tmp_path):
    path = tmp_path / f"submission{suffix}"
    write_submission(submission_of({1: ["a:0"]}), path)
    write_submission(submission_of({2: ["b:0"]}), path)
    assert ids_of(read_submission(path)) == {2: ["b:0"]}


def test_coded_file_reads_some_classes(tmp_path):
    write_submission(submission_of({1: ["b:0"], 5: [], 7: ["a:0", "b:0"], 9: ["c:0"]}), tmp_path / "coded")
    lists = open_submission(tmp_path / "coded")
    assert lists.classes == [1, 5, 7, 9]
    assert ids_of(lists.read([7, 5, 8])) == {5: [], 7: ["a:0", "b:0"]}
    assert ids_of(lists.read([3])) == {}


def test_predictions_beside_their_segments(tmp_path):
    scores = np.array([[0.5, 0.1], [0.5, 0.9], [0.7, 0.2]], dtype=np.float32)
    predictions = rank_scores(scores, [4, 2], pl.Series(["a:0", "b:0", "c:0"]), k=2)
    assert ids_of(predictions) == {2: ["b:0", "c:0"], 4: ["c:0", "a:0"]}
    write_submission(predictions, tmp_path / "predictions")
    (tmp_path / "predictions" / "lists.parquet").rename(tmp_path / "predictions" / "shift-1.parquet")
    read = read_submission(tmp_path / "predictions" / "shift-1.parquet")
    assert read.lists.equals(predictions.lists)
    assert read.lists["scores"].to_list() == [pytest.approx([0.9, 0.2]), pytest.approx([0.7, 0.5])]


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), max_size=12), st.integers(1, 14))
def test_rank_within_class_is_a_stable_sort_cut_at_k(scores, k):
    expected = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k]
    assert rank_within_class(np.array(scores), k).tolist() == expected


def test_rank_scores_refuses_what_cannot_be_ranked():
    with pytest.raises(ValueError, match="NaN"):
        rank_scores(np.array([[np.nan]], dtype=np.float32), [1], pl.Series(["a:0"]))
    with pytest.raises(ValueError, match="sorted"):
        rank_scores(np.zeros((2, 1), dtype=np.float32), [1], pl.Series(["b:0", "a:0"]))
    with pytest.raises(ValueError, match="2 segments"):
        rank_scores(np.zeros((3, 1), dtype=np.float32), [1], pl.Series(["a:0", "b:0"]))


KAGGLE = b"Class,Segments\n7,b:0 a:0\n3,c:5\n"
READ = {3: ["c:5"], 7: ["b:0", "a:0"]}


@pytest.mark.parametrize(
    ("content", "lists"),
    [
        (KAGGLE, READ),
        (KAGGLE[:-1], READ),
        (KAGGLE.replace(b"\n", b"\r\n"), READ),
        (b"\xef\xbb\xbf" + KAGGLE, READ),
        (gzip.compress(KAGGLE), READ),
        (b'"Class","Segments"\n"7","b:0 a:0"\n3,"c:5"\n', READ),
        (KAGGLE.replace(b"b:0 a:0", b"b:0  a:0 "), READ),
        (KAGGLE + b"\n   \n\r\n", READ),
        (KAGGLE + b"9,\n", {**READ, 9: []}),
        (b"Class,Segments\n1,a:0 b:0 a:0 c:0 b:0\n", {1: ["a:0", "b:0", "c:0"]}),
        (b"Class,Segments\n1,FBIS3-1 b\n", {1: ["FBIS3-1", "b"]}),
        (b"Class,Segments\n1," + b"a" * 1_000_000 + b"\n", {1: ["a" * 1_000_000]}),
    ],
    ids=[
        "plain",
        "unended",
        "crlf",
        "bom",
        "gzip",
        "quoted",
        "blanks",
        "blank-lines",
        "empty-list",
        "repeated",
        "no-colon",
        "long-line",
    ],
)
def test_kaggle_csv_is_read_as_documented(content, lists, tmp_path):
    path = tmp_path / "submission.csv"
    path.write_bytes(content)
    assert ids_of(read_submission(path)) == lists


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"Class,Segments\n", "holds no classes"),
        (b"class_id,segment\n1,a:0\n", "begins with"),
        ("Class,Segments\n1,a:0\n".encode("utf-16"), "begins with"),
        (b"Class,Segments\n1 a:0\n", "line 2"),
        (b"Class,Segments\nx,a:0\n", "integer class"),
        (b"Class,Segments\n1.0,a:0\n", "integer class"),
        (b"Class,Segments\n-1,a:0\n", "integer class"),
        (b"Class,Segments\n65536,a:0\n", "integer class"),
        (b"Class,Segments\n1,a:0\n\n1,b:0\n", "class 1 stands on lines 2 and 4"),
        (b"Class,Segments\n1,a:0,b:0\n", "comma"),
        (b"Class,Segments\n1,a:0\tb:0\n", "tab"),
        (b"Class,Segments\n1,a:0\x00\n", "NUL"),
        (b"Class,Segments\n1,\xff\xfe\n", "UTF-8"),
        (gzip.compress(KAGGLE)[:-9], "damaged gzip"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_kaggle_csv_is_refused_with_the_reason(content, complaint, tmp_path):
    path = tmp_path / "submission.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=complaint) as refused:
        read_submission(path)
    assert str(path) in str(refused.value)


def long_form(**columns) -> pl.DataFrame:
    rows = {"class_id": [1, 1], "segment_id": ["a:0", "b:0"], "rank": [1, 2]} | columns
    return pl.DataFrame(rows)


def test_long_form_orders_by_rank_and_closes_gaps(tmp_path):
    path = tmp_path / "long.parquet"
    long_form(rank=[30, 4]).write_parquet(path)
    assert ids_of(read_submission(path)) == {1: ["b:0", "a:0"]}


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (long_form().drop("rank"), "lacks"),
        (long_form(rank=[1, 1]), "rank twice"),
        (long_form(rank=[1.5, 2.5]), "columns"),
        (long_form(rank=[-1, 2]), "negative"),
        (long_form(class_id=[1, 70000]), "too large"),
        (long_form(rank=[1, None]), "null"),
        (long_form().clear(), "holds no classes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_long_form_is_refused_with_the_reason(table, complaint, tmp_path):
    path = tmp_path / "long.parquet"
    table.write_parquet(path)
    with pytest.raises(ValueError, match=complaint) as refused:
        read_submission(path)
    assert str(path) in str(refused.value)


def coded(folder: Path, codes=((0, 1),), segments=("a:0", "b:0"), classes=(1,), scores=None) -> Path:
    folder.mkdir()
    columns = {
        "class_id": pl.Series(classes, dtype=pl.UInt16),
        "segments": pl.Series(list(codes), dtype=pl.List(pl.UInt32)),
    }
    if scores is not None:
        columns["scores"] = pl.Series(scores, dtype=pl.List(pl.Float32))
    pl.DataFrame(columns).write_parquet(folder / "lists.parquet")
    pl.DataFrame({"segment_id": list(segments)}).write_parquet(folder / "segments.parquet")
    return folder


def test_coded_lists_keep_first_places(tmp_path):
    folder = coded(tmp_path / "coded", codes=[(1, 0, 1), (0,)], classes=(8, 2), scores=[[0.9, 0.8, 0.7], [0.1]])
    submission = read_submission(folder)
    assert ids_of(submission) == {2: ["a:0"], 8: ["b:0", "a:0"]}
    assert submission.lists["scores"].to_list() == [pytest.approx([0.1]), pytest.approx([0.9, 0.8])]


@pytest.mark.parametrize(
    ("faults", "complaint"),
    [
        ({"codes": [(0, 2)]}, "code 2 has no segment"),
        ({"codes": [(0, None)]}, "nulls"),
        ({"codes": [None]}, "nulls"),
        ({"classes": (1, 1), "codes": [(0,), (1,)]}, "class 1 has more than one row"),
        ({"segments": ("b:0", "a:0")}, "sorted"),
        ({"segments": ("a:0", "a:0")}, "each id once"),
        ({"scores": [[0.5]]}, "differ in length"),
        ({"classes": (), "codes": []}, "holds no classes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_coded_lists_are_refused_with_the_reason(faults, complaint, tmp_path):
    with pytest.raises(ValueError, match=complaint) as refused:
        read_submission(coded(tmp_path / "coded", **faults))
    assert str(tmp_path) in str(refused.value)


@pytest.mark.parametrize("missing", ["lists.parquet", "segments.parquet"])
def test_half_a_coded_submission_is_refused(missing, tmp_path):
    folder = coded(tmp_path / "coded")
    (folder / missing).unlink()
    with pytest.raises(ValueError, match=f"{missing} is missing"):
        read_submission(folder)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        read_submission(tmp_path / "nowhere.csv")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match="no known format"):
        read_submission(tmp_path / "notes.txt")
    (tmp_path / "broken.parquet").write_text("hello")
    with pytest.raises(ValueError, match=r"broken\.parquet cannot be read"):
        read_submission(tmp_path / "broken.parquet")


FRAGMENTS = [b"Class,Segments", b"\n", b"\r", b",", b" ", b"1", b"70000", b"a:0", b'"', b"\xff", b"\0", b"nan", b"Q0"]
garbage = st.one_of(st.binary(max_size=60), st.lists(st.sampled_from(FRAGMENTS), max_size=20).map(b"".join))


@pytest.mark.parametrize(
    ("name", "format"),
    [("x.csv", None), ("x.csv.gz", None), ("x.parquet", None), ("x.run", "trec")],
)
def test_garbage_is_read_or_refused_and_never_more(name, format, tmp_path_factory):
    path = tmp_path_factory.mktemp("garbage") / name

    @given(garbage, st.booleans())
    def check(content, packed):
        path.write_bytes(gzip.compress(content) if packed else content)
        with contextlib.suppress(ValueError):
            assert read_submission(path, format).classes

    check()


def test_an_id_that_a_line_cannot_hold_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="blank or comma"):
        write_submission(submission_of({1: ["a b:0"]}), tmp_path / "submission.csv")
    assert list(tmp_path.iterdir()) == []


def test_trec_runs_order_as_trec_eval(tmp_path):
    path = tmp_path / "run"
    # 16777216 and 16777217 are one float32, so the higher document id comes first; the rank column is not read.
    path.write_text("303 Q0 B 1 1.5 x\n303\tQ0  C 2 16777216 x\n303 Q0 D 3 16777217 x\n7 Q0 A 0 -1e3 x\n\n")
    assert ids_of(read_submission(path, "trec")) == {7: ["A"], 303: ["D", "C", "B"]}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("303 Q0 B 1 1.5\n", "line 1 has 5 fields"),
        ("303 Q0 B 1 1.5 x\nB3 Q0 B 1 1.5 x\n", "line 2: the topic"),
        ("303 Q0 B 1 high x\n", "score is no number"),
        ("303 Q0 B 1 nan x\n", "NaN"),
        ("\n\n", "holds no lines"),
    ],
)
def test_trec_runs_are_refused_with_the_reason(content, complaint, tmp_path):
    path = tmp_path / "run"
    path.write_text(content)
    with pytest.raises(ValueError, match=complaint) as refused:
        read_submission(path, "trec")
    assert str(path) in str(refused.value)
