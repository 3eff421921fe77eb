import contextlib
import gzip

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.lists.opening import open_submission, read_submission
from scoring.lists.ranking import rank_scores, rank_within_class
from scoring.lists.writing import write_submission
from tests.scoring.generated import coded, ids_of, submission_of

SUFFIXES = ["", ".parquet", ".csv", ".csv.gz"]
any_ids = st.text(max_size=4) | st.sampled_from(
    ['"', '"a', "a,b", "a b", " ", "a\r", "\t", "\0", "a\u00a0b", "\ufeffa"]
)


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


@given(submissions)
def test_one_coded_file_among_others_round_trips(tmp_path_factory, lists):
    folder = tmp_path_factory.mktemp("round")
    write_submission(submission_of(lists), folder / "coded")
    (folder / "coded" / "lists.parquet").rename(folder / "coded" / "shift0.parquet")
    assert ids_of(read_submission(folder / "coded" / "shift0.parquet")) == dict(sorted(lists.items()))


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".run"])
def test_any_id_is_kept_or_refused(suffix, tmp_path_factory):
    """Any id is read as it was written, or nothing is written."""

    @given(st.dictionaries(st.integers(0, 3), st.lists(any_ids, min_size=1, max_size=3, unique=True), min_size=1))
    def round_trip(lists):
        path = tmp_path_factory.mktemp("round") / f"submission{suffix}"
        try:
            write_submission(submission_of(lists), path)
        except ValueError:
            assert list(path.parent.iterdir()) == []
        else:
            assert ids_of(read_submission(path)) == dict(sorted(lists.items()))

    round_trip()


def test_what_is_not_a_submission_is_not_replaced(tmp_path):
    submission = submission_of({1: ["a:0"]})
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"folder contains notes\.txt, which would be lost"):
        write_submission(submission, tmp_path / "folder")
    assert (tmp_path / "folder" / "notes.txt").read_text() == "mine"
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="file is a file"):
        write_submission(submission, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        write_submission(submission, tmp_path / "folder.csv")


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
    predictions = rank_scores(scores, [4, 2], pl.Series(["a:0", "b:0", "c:0"]), cutoff=2)
    assert ids_of(predictions) == {2: ["b:0", "c:0"], 4: ["c:0", "a:0"]}
    write_submission(predictions, tmp_path / "predictions")
    (tmp_path / "predictions" / "lists.parquet").rename(tmp_path / "predictions" / "shift-1.parquet")
    read = read_submission(tmp_path / "predictions" / "shift-1.parquet")
    assert read.lists.equals(predictions.lists)
    assert read.lists["scores"].to_list() == [pytest.approx([0.9, 0.2]), pytest.approx([0.7, 0.5])]


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), max_size=12), st.integers(1, 14))
def test_rank_within_class_is_a_stable_sort_with_a_cutoff(scores, cutoff):
    expected = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:cutoff]
    assert rank_within_class(np.array(scores), cutoff).tolist() == expected


def test_rank_scores_refuses_what_cannot_be_ranked():
    with pytest.raises(ValueError, match="NaN"):
        rank_scores(np.array([[np.nan]], dtype=np.float32), [1], pl.Series(["a:0"]))
    with pytest.raises(ValueError, match="sorted"):
        rank_scores(np.zeros((2, 1), dtype=np.float32), [1], pl.Series(["b:0", "a:0"]))
    with pytest.raises(ValueError, match="2 segments"):
        rank_scores(np.zeros((3, 1), dtype=np.float32), [1], pl.Series(["a:0", "b:0"]))


def test_coded_lists_keep_first_places(tmp_path):
    coded([(1, 0, 1), (0,)], classes=(8, 2), scores=[[0.9, 0.8, 0.7], [0.1]])(tmp_path / "coded")
    submission = read_submission(tmp_path / "coded")
    assert ids_of(submission) == {2: ["a:0"], 8: ["b:0", "a:0"]}
    assert submission.lists["scores"].to_list() == [pytest.approx([0.1]), pytest.approx([0.9, 0.8])]


def test_coded_lists_of_equal_length_keep_first_places(tmp_path):
    coded([(0, 0, 1), (1, 2, 2)])(tmp_path / "coded")
    assert ids_of(read_submission(tmp_path / "coded")) == {1: ["a:0", "b:0"], 2: ["b:0", "c:0"]}


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
    with pytest.raises(ValueError, match="a blank, comma"):
        write_submission(submission_of({1: ["a b:0"]}), tmp_path / "submission.csv")
    assert list(tmp_path.iterdir()) == []


def test_trec_runs_order_as_trec_eval(tmp_path):
    path = tmp_path / "run"
    # 16777216 and 16777217 are one float32, so the higher document id comes first; the rank column is not read.
    path.write_text("303 Q0 B 1 1.5 x\n303\tQ0  C 2 16777216 x\n303 Q0 D 3 16777217 x\n7 Q0 A 0 -1e3 x\n\n")
    assert ids_of(read_submission(path, "trec")) == {7: ["A"], 303: ["D", "C", "B"]}
