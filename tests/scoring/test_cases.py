"""Small inputs that were once read wrongly, refused or ended in a traceback: one of each kind, with its right value."""

import json
import os
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from scoring.lists.opening import read_submission
from scoring.lists.ranking import rank_scores
from scoring.lists.writing import write_submission
from tests.scoring.generated import coded, ids_of
from tests.scoring.malformed.conftest import is_one_sentence, tree
from videos.dataset import Dataset

JUDGMENTS = "class_id,segment_id,relevance\n3,a:0,0\n3,b:0,1\n"
TOPICS = [f"q{number}" for number in range(12)]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """s.csv ranks a:0 before b:0, s2.csv the other way round; b:0 is the positive of j.csv."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.csv").write_text("Class,Segments\n3,a:0 b:0\n")
    (tmp_path / "s2.csv").write_text("Class,Segments\n3,b:0 a:0\n")
    (tmp_path / "j.csv").write_text(JUDGMENTS)
    return tmp_path


@pytest.fixture
def stdin(monkeypatch):
    """Sets what standard input contains."""

    def give(content: bytes) -> None:
        monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(content)))

    return give


def map_of(scoring, *args: str) -> float:
    code, out, err = scoring("evaluate", *args, "--json")
    assert code == 0, err
    return json.loads(out)["map"]


@pytest.mark.parametrize("classes", range(1, 12))
def test_a_coded_list_that_repeats_a_segment_keeps_its_first_place(classes, scoring, files, caplog):
    """Once a traceback whenever all lists of a block end equally long."""
    coded([(0, 0, 1)] * classes, classes=range(3, 3 + classes))(files / "x")
    assert map_of(scoring, "x", "j.csv") == 1 / 2
    assert caplog.messages == [
        "x/lists.parquet: 1 repeated segment in the list of class 3; the first rank of each counts, in every list"
    ]


def test_a_relevance_below_zero_is_unjudged(scoring, files):
    (files / "x.run").write_text("1 Q0 a 1 3 t\n1 Q0 b 2 2 t\n1 Q0 c 3 1 t\n")
    (files / "q.txt").write_text("1 0 a -1\n1 0 b 1\n1 0 c 1\n")
    assert map_of(scoring, "x.run", "q.txt", "--format", "trec") == 1.0


def test_a_topic_is_any_text(scoring, files):
    """The list of 51 has the document of 051 and the other way round."""
    (files / "x.run").write_text("1048585 Q0 7187158 1 9.5 t\n051 Q0 a 1 1 t\n51 Q0 b 1 1 t\n31_1 Q0 c 1 1 t\n")
    (files / "q.txt").write_text("1048585 0 7187158 1\n051 0 b 1\n51 0 a 1\n31_1 0 c 1\n")
    code, out, _ = scoring("evaluate", "x.run", "q.txt", "--json")
    assert code == 0
    assert json.loads(out)["per_class"] == {"051": 0.0, "1048585": 1.0, "31_1": 1.0, "51": 0.0}


def test_categories_and_whole_floats_lose_nothing_and_are_read(scoring, files):
    columns = {"class_id": [3, 3], "segment_id": ["a:0", "b:0"], "rank": [1.0, 2.0]}
    pl.DataFrame(columns).cast({"segment_id": pl.Categorical}).write_parquet("c.parquet")
    assert map_of(scoring, "c.parquet", "j.csv") == 1 / 2
    (files / "float.csv").write_text("class_id,segment_id,relevance\n3,a:0,1.0\n")
    assert map_of(scoring, "s.csv", "float.csv") == 1.0


@pytest.mark.parametrize(
    ("column", "values", "complaint"),
    [
        ("segment_id", [["a:0"]], r"j.parquet: segment_id is List(String); write text and whole numbers"),
        ("class_id", [["3"]], "j.parquet: class_id is List(String); write integers or text"),
        ("relevance", [b"1"], "j.parquet: relevance is Binary; write text and whole numbers"),
    ],
)
def test_a_column_of_lists_or_bytes_is_named_with_the_type_it_must_have(column, values, complaint, scoring, files):
    columns = {"class_id": [3], "segment_id": ["a:0"], "relevance": [1]}
    pl.DataFrame(columns | {column: values}).write_parquet("j.parquet")
    code, _, err = scoring("evaluate", "s.csv", "j.parquet")
    assert (code, is_one_sentence(err)) == (1, True)
    assert complaint in err


@pytest.mark.parametrize(
    ("scores", "complaint"),
    [
        ([[float("nan"), 0.5, 0.2]], "bad/lists.parquet, class 3: a score is null, NaN or infinite"),
        ([None], "bad/lists.parquet has lists of segments and scores of unequal length"),
    ],
)
def test_a_score_that_is_none_would_sink_its_segment_and_is_refused(scores, complaint, scoring, files):
    coded([(0, 1, 2)], classes=[3], scores=[[0.9, 0.5, 0.2]])(files / "ok")
    coded([(0, 1, 2)], classes=[3], scores=scores)(files / "bad")
    before = tree(files)
    code, out, err = scoring("merge", "ok", "bad", "--by", "score", "--out", "M")
    assert (code, out, is_one_sentence(err)) == (1, "", True)
    assert complaint in err
    assert tree(files) == before


def test_a_blank_line_of_a_published_log_is_no_row(scoring, files, store):
    (files / "p.csv").write_text("evaluation,map,seconds,w0,w1,w2\n\n1,0.7,700,6,0.5,0.5\n")
    code, out, _ = scoring("published", "p.csv")
    assert code == 0
    assert out.startswith("best 0.70000 at evaluation 1 of 1, 700 s an evaluation")


@pytest.mark.parametrize("command", ["fuse", "merge", "optimize"])
def test_an_input_is_never_the_output(command, scoring, files):
    write_submission(read_submission(files / "s.csv"), files / "coded")
    flags = ["--judgments", "j.csv"] if command == "optimize" else []
    for out in ("s.csv", "coded", *(["j.csv"] if flags else [])):
        before = {path: path.read_bytes() for path in files.rglob("*.*")}
        code, _, err = scoring(command, "s.csv", "coded/lists.parquet", *flags, "--out", out)
        assert (code, is_one_sentence(err)) == (1, True)
        assert f"{out} is one of the inputs, which would be lost" in err
        assert {path: path.read_bytes() for path in files.rglob("*.*")} == before
    assert "j.csv is one of the inputs" in scoring("evaluate", "s.csv", "j.csv", "--per-class", "j.csv")[2]


@pytest.mark.parametrize(
    "args", [["optimize", "s.csv", "s2.csv", "--out", "folder"], ["evaluate", "s.csv", "--per-class", "folder.csv"]]
)
def test_a_folder_is_never_replaced_by_a_file(args, scoring, files):
    for name in ("folder", "folder.csv"):
        (files / name).mkdir()
        (files / name / "kept").write_text("kept")
    code, _, err = scoring(*args, "--judgments", "j.csv")
    assert (code, is_one_sentence(err)) == (1, True)
    assert "is a folder, and a file is written" in err
    assert {(files / name / "kept").read_text() for name in ("folder", "folder.csv")} == {"kept"}


@pytest.mark.parametrize("out", ["x.txt", "full", "s.csv/x.csv"])
def test_an_output_that_cannot_be_written_is_refused_before_a_file_is_read(out, scoring, files):
    (files / "full").mkdir()
    (files / "full" / "kept").write_text("kept")
    (files / "s.csv").write_text("no submission")
    code, _, err = scoring("fuse", "s.csv", "--out", out)
    assert code == 1
    assert "choose another name" in err or "no known format; name it" in err


def test_standard_input_is_a_submission_or_judgments(scoring, files, stdin):
    stdin((files / "s2.csv").read_bytes())
    assert map_of(scoring, "-", "j.csv") == 1.0
    stdin(JUDGMENTS.encode())
    assert map_of(scoring, "s.csv", "--judgments", "-") == 1 / 2
    stdin(b"3 0 a:0 0\n3 0 b:0 1\n")
    assert map_of(scoring, "s.csv", "-") == 1 / 2
    write_submission(read_submission(files / "s2.csv"), files / "x.parquet")
    stdin((files / "x.parquet").read_bytes())
    assert map_of(scoring, "-", "j.csv") == 1.0
    stdin(b"3 Q0 b:0 1 2 t\n3 Q0 a:0 2 1 t\n")
    assert scoring("fuse", "-", "s2.csv", "--out", "x.csv")[0] == 0
    assert ids_of(read_submission(files / "x.csv")) == {3: ["b:0", "a:0"]}
    stdin(b"3 Q0 b:0 1 2 t\n")
    code, _, err = scoring("compare", "-", "-", "--judgments", "j.csv")
    assert (code, is_one_sentence(err)) == (1, True)


def test_standard_output_has_the_lists_alone(files):
    def run(*args: str, **options) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.run([sys.executable, "-m", "scoring", *args], capture_output=True, env=environment, **options)

    done = run("fuse", "-", "s2.csv", "--out", "-", input=(files / "s2.csv").read_bytes())
    assert (done.returncode, done.stdout) == (0, b"Class,Segments\n3,b:0 a:0\n")
    assert done.stderr == b"2 submissions fused into -: 2 segments of 1 class\n"
    assert not (files / "-").exists()
    done = run("fuse", "s.csv", "--out", "-", "--format", "trec", "--k-constant", "0", "--tag", "mine")
    assert done.stdout == b"3 Q0 a:0 1 1.0 mine\n3 Q0 b:0 2 0.5 mine\n"
    done = run("fuse", "s.csv", "none.csv", "--out", "-")
    assert (done.returncode, done.stdout) == (1, b"")
    with subprocess.Popen(["cat", "s2.csv"], stdout=subprocess.PIPE) as pipe:
        assert pipe.stdout is not None
        done = run("evaluate", "/dev/fd/0", "j.csv", stdin=pipe.stdout)
    assert done.stdout.startswith(b"MAP@100000 1.000000"), done.stderr


def test_a_file_that_cannot_be_standard_output_is_asked_for(scoring, files):
    code, _, err = scoring("optimize", "s.csv", "s2.csv", "--judgments", "j.csv", "--out", "-")
    assert (code, is_one_sentence(err)) == (1, True)
    assert "give --out the name of a file" in err


def test_a_run_keeps_the_fused_scores_and_every_reader_its_order(scoring, files):
    ir_measures = pytest.importorskip("ir_measures")
    ids = [f"d{number:02}" for number in range(40)]  # all of them tie pairwise
    for name, order in (
        ("x.csv", ids),
        ("y.csv", [b for a, c in zip(ids[::2], ids[1::2], strict=True) for b in (c, a)]),
    ):
        (files / name).write_text(f"Class,Segments\n1,{' '.join(order)}\n")
    for out in ("fused.run", "fused.run.gz", "fused.trec", "fused.csv"):
        code, printed, _ = scoring("fuse", "x.csv", "y.csv", "--out", out, "--k-constant", "60", "--tag", "ours")
        assert (code, printed) == (0, f"2 submissions fused into {out}: 40 segments of 1 class\n")
        assert ids_of(read_submission(files / out)) == {1: ids}
    rows = [line.split() for line in (files / "fused.run").read_text().splitlines()]
    assert [(row[2], row[3], row[5]) for row in rows] == [(d, str(rank), "ours") for rank, d in enumerate(ids, 1)]
    scores = np.array([float(row[4]) for row in rows])
    expected = np.repeat([(1 / (60 + r) + 1 / (60 + r + 1)) / 2 for r in range(1, 41, 2)], 2)
    assert scores == pytest.approx(expected, rel=1e-6)
    assert (np.diff(scores.astype(np.float32)) < 0).all()
    read = sorted(ir_measures.read_trec_run(str(files / "fused.run")), key=lambda row: -row.score)
    assert [row.doc_id for row in read] == ids


def test_a_tag_is_one_word(scoring, files):
    code, _, err = scoring("fuse", "s.csv", "--out", "x.run", "--tag", "two words")
    assert (code, "--tag is 'two words'; a tag is one word" in err) == (1, True)


def test_a_run_of_merged_shifts_has_their_scores(scoring, files):
    for name, scores in (("one", [0.75, -1.0]), ("two", [0.25, -1.0])):
        predictions = rank_scores(np.array(scores, dtype=np.float32)[:, None], [1], pl.Series(["a:0", "b:0"]))
        write_submission(predictions, files / name)
    assert scoring("merge", "one", "two", "--by", "score", "--out", "x.run")[0] == 0
    assert (files / "x.run").read_text() == "1 Q0 a:0 1 0.5 fused\n1 Q0 b:0 2 -1.0 fused\n"


def test_a_member_may_be_named_k(scoring, files):
    (files / "k.csv").write_bytes((files / "s.csv").read_bytes())
    (files / "w.json").write_text('{"k": 1, "weights": {"k": 0.9, "s2": 0.1}}')
    assert scoring("fuse", "k.csv", "s2.csv", "--weights", "w.json", "--out", "x.csv")[0] == 0
    assert ids_of(read_submission(files / "x.csv")) == {3: ["a:0", "b:0"]}
    (files / "w.json").write_text('{"k": -1, "weights": {"k": 0.9, "s2": 0.1}}')
    assert "k is -1" in scoring("fuse", "k.csv", "s2.csv", "--weights", "w.json", "--out", "y.csv")[2]
    (files / "w.json").write_text('{"weights": {"k": 0.9, "s2": 0.1}}')
    assert "k is None" in scoring("fuse", "k.csv", "s2.csv", "--weights", "w.json", "--out", "y.csv")[2]


@pytest.mark.frameworks
def test_weights_of_a_member_named_k_are_searched(scoring, files):
    (files / "k.csv").write_bytes((files / "s.csv").read_bytes())
    flags = ["--judgments", "j.csv", "--trials", "8", "--out", "w.json", "--json"]
    code, out, err = scoring("optimize", "k.csv", "s2.csv", *flags)
    assert code == 0, err
    assert json.loads(out)["map"] == 1.0
    assert pl.read_parquet("w.trials.parquet").columns[2:5] == ["weight/k", "weight/s2", "k"]


NBSP = "\u00a0"


@pytest.mark.parametrize("name", ["x.csv", "x.parquet", "x.run", "x"])
def test_an_id_and_a_class_may_begin_with_a_no_break_space(name, scoring, files):
    (files / "n.csv").write_text(f"Class,Segments\n{NBSP}q,{NBSP}a b{NBSP}\n")
    assert scoring("fuse", "n.csv", "--out", name)[0] == 0
    assert ids_of(read_submission(files / name)) == {f"{NBSP}q": [f"{NBSP}a", f"b{NBSP}"]}
    (files / "j.csv").write_text(f"class_id,segment_id,relevance\n{NBSP}q,{NBSP}a,0\n{NBSP}q,b{NBSP},1\n")
    (files / "j.qrels").write_text(f"{NBSP}q 0 {NBSP}a 0\n{NBSP}q 0 b{NBSP} 1\n")
    assert [map_of(scoring, name, judgments) for judgments in ("j.csv", "j.qrels")] == [0.5, 0.5]
    (files / "ids.txt").write_text(f"{NBSP}a\r\n\nb{NBSP}\n")
    (files / "classes.txt").write_text(f"{NBSP}q\n")
    code, out, _ = scoring("check", name, "--ids", "ids.txt", "--classes", "classes.txt")
    assert (code, out) == (0, f"{name} is complete\n")


def test_an_error_of_the_system_is_a_sentence_with_the_file_and_a_remedy(files, monkeypatch, scoring):
    """Permissions do not bind the superuser, who runs tests in containers: the error is made."""

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "s.csv")

    monkeypatch.setattr("scoring.commands.fuse.open_submissions", refuse)
    code, _, err = scoring("fuse", "s.csv", "--out", "x.csv")
    assert (code, err) == (1, "error: s.csv: permission denied; change its permissions, or choose another path\n")


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("video_id", [1]),
        ("split", pl.Series([None], dtype=pl.String)),
        ("file", None),
        ("first_frame", ["0"]),
        ("frames", [2.5]),
        ("frames", [-1]),
        ("frames", pl.Series([["9"]])),
    ],
)
def test_a_store_of_other_column_types_is_refused_with_the_column(column, values, scoring, files):
    Dataset("tiny", {"rgb": 2}, "uint8", 5, True, 300, "roll", ["x"], [1], "digest").write(files)
    videos = pl.DataFrame({"video_id": ["a"], "split": ["test"], "file": ["f"], "first_frame": [0], "frames": [9]})
    videos = videos.drop(column) if values is None else videos.with_columns(pl.Series(column, values))
    videos.write_parquet("videos.parquet")
    code, out, err = scoring("check", "s.csv", "--data", ".")
    assert (code, out, is_one_sentence(err)) == (1, "", True)
    assert f"videos.parquet has no column {column} of" in err


@pytest.mark.parametrize("dtype", [pl.Int8, pl.UInt8, pl.Int16, pl.UInt32, pl.Int64, pl.UInt64, pl.Float32, pl.String])
def test_class_ids_of_any_width_are_classes(dtype, scoring, files):
    table = pl.DataFrame({"class_id": [3, 3], "segment_id": ["a:0", "b:0"], "rank": [1, 2], "relevance": [0, 1]})
    table.cast({"class_id": dtype}).write_parquet("x.parquet")
    assert map_of(scoring, "x.parquet", "x.parquet") == 1 / 2


@pytest.mark.parametrize("command", ["evaluate", "compare", "fuse", "optimize", "merge", "check"])
def test_help_shows_what_the_files_look_like(command, scoring, files):
    text = " ".join(scoring(command, "--help")[1].replace("│", " ").split())
    assert "header Class,Segments" in text
    assert "standard input" in text
    if command in ("evaluate", "compare", "optimize"):
        assert "class_id,segment_id,relevance (relevant if above 0), or TREC qrels (topic 0 document relevance)" in text
        assert "TREC publishes those of a track" in text
    if command in ("fuse", "merge"):
        assert ".run, .run.gz (TREC, with the" in text
        assert "--tag WORD" in text


def test_values_per_class_may_be_printed(scoring, files):
    code, out, _ = scoring("evaluate", "s.csv", "j.csv", "--per-class", "-", "--measure", "P@1", "AP")
    assert code == 0
    assert out.endswith("class_id,P@1,AP\n3,0.0,0.5\n")


def test_a_store_whose_description_has_other_values_is_refused(scoring, files):
    described = Dataset("tiny", {"rgb": 2}, "uint8", 5, True, 300, "roll", ["x"], [1], "digest")
    for field, value in {"segment_frames": 0, "max_frames": "9", "scored_classes": ["1"], "unrated_ends": [1]}.items():
        described.write(files)
        content = json.loads((files / "dataset.json").read_text()) | {field: value}
        (files / "dataset.json").write_text(json.dumps(content))
        code, _, err = scoring("check", "s.csv", "--data", ".")
        assert (code, is_one_sentence(err)) == (1, True)
        assert f"dataset.json is not a description of a dataset ({field} is" in err


@pytest.mark.frameworks
@pytest.mark.parametrize(
    "line",
    [
        "{",
        '{"source": "ax"}',
        "[]",
        '{"source": "ax", "weights": {"s": NaN, "s2": 1}, "k": 1, "map": 0.5, "seconds": 1}',
    ],
)
def test_a_damaged_trials_file_is_refused_before_the_search(line, scoring, files, monkeypatch):
    flags = ["optimize", "s.csv", "s2.csv", "--judgments", "j.csv", "--trials", "2", "--out", "w.json"]
    with monkeypatch.context() as patch:
        patch.setattr("scoring.weights.trial_log.TrialLog.done", lambda log: None)  # an interrupted search
        assert scoring(*flags)[0] == 0
    trials, result = files / "w.trials.jsonl", (files / "w.json").read_bytes()
    whole = trials.read_text().splitlines()
    trials.write_text("\n".join([*whole[:2], line, *whole[3:]]) + "\n")
    damaged = trials.read_text()
    code, out, err = scoring(*flags)
    assert (code, out) == (1, "")
    assert "error: w.trials.jsonl, line 3 is no trial (" in err
    assert "remove the file to search from the beginning" in err
    assert (trials.read_text(), (files / "w.json").read_bytes()) == (damaged, result)
