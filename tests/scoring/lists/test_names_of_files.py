"""Files as people name them: runs and judgments by suffix or content, folders, outputs that would lose an input."""

import gzip

import pytest

from scoring.lists.opening import member_names, open_submissions, read_submission
from tests.scoring.generated import ids_of
from tests.scoring.malformed.conftest import is_one_sentence

RUN = b"q1 Q0 a 1 2 x\nq1 Q0 b 2 1 x\n"
QRELS = b"q1 0 a 1\nq1 0 b 0\n"
CSV = b"Class,Segments\n1,a:0 b:0\n"


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "j.qrels").write_bytes(QRELS)
    return tmp_path


@pytest.mark.parametrize("name", ["x.run", "x.run.gz", "x.trec", "x.trec.gz", "x.txt", "x"])
def test_runs_are_known_by_suffix_or_content(name, scoring, files):
    (files / name).write_bytes(gzip.compress(RUN) if name.endswith(".gz") else RUN)
    for judgments in ("j.qrels", "qrels.txt", "j.qrels.gz"):
        (files / judgments).write_bytes(gzip.compress(QRELS) if judgments.endswith(".gz") else QRELS)
        code, out, err = scoring("evaluate", name, judgments)
        assert (code, err) == (0, "")
        assert out.startswith("MAP@100000 1.000000")


def test_files_of_one_name_are_named_by_their_folders(files):
    paths = [files / name / "submission.csv" for name in ("bert", "vlad")]
    for path in paths:
        path.parent.mkdir()
        path.write_bytes(CSV)
    assert list(open_submissions(paths)) == ["bert", "vlad"]
    with pytest.raises(ValueError, match="two submissions are named x"):
        member_names([files / "x.csv", files / "x.parquet"])


@pytest.mark.parametrize("command", ["fuse", "merge", "optimize"])
@pytest.mark.parametrize(
    ("out", "complaint"),
    [("one.csv", "one of the inputs"), ("folder.json", "is a folder"), ("nowhere/x.json", "is no folder")],
)
def test_an_output_that_would_lose_something_is_refused_before_the_work(command, out, complaint, scoring, files):
    for name in ("one.csv", "two.csv"):
        (files / name).write_bytes(CSV)
    (files / "folder.json").mkdir()
    (files / "j.csv").write_text("class_id,segment_id,relevance\n1,a:0,1\n")
    flags = ["--judgments", "j.csv"] if command == "optimize" else []
    code, printed, err = scoring(command, "one.csv", "two.csv", *flags, "--out", out)
    assert (code, printed) == (1, "")
    assert is_one_sentence(err), err
    assert complaint in err
    assert (files / "one.csv").read_bytes() == CSV


def test_a_name_that_mlflow_refuses_is_refused_before_the_search_if_it_is_logged(scoring, files):
    for name in ("sub (1).csv", "two.csv"):
        (files / name).write_bytes(CSV)
    flags = ["sub (1).csv", "two.csv", "--out"]
    assert scoring("fuse", *flags, "x.csv")[0] == 0
    code, _, err = scoring("optimize", *flags, "w.json", "--judgments", "j.qrels", "--log")
    assert code == 1
    assert "--log: MLflow refuses the name sub (1); rename the file" in err


def test_fields_may_stand_apart_by_any_ascii_blanks(files):
    (files / "x.run").write_bytes(b"\n  1\tQ0  a\t1 3 x \r\n\n1 Q0 \xc2\xa0b 2 2 x\n")
    assert ids_of(read_submission(files / "x.run")) == {1: ["a", "\xa0b"]}
    (files / "x.run").write_bytes(b"\n1 Q0 a 1 3 x\n\n1 Q0 a 1 3 x y z\n")
    with pytest.raises(ValueError, match="line 4 has 8 fields"):
        read_submission(files / "x.run")
