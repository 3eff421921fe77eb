"""Submissions as people have them, through the command line: read as documented, or refused in one sentence."""

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scoring.lists.opening import read_submission
from scoring.lists.ranked import K
from scoring.lists.writing import write_submission
from scoring.measures.average_precision import mean_average_precision
from tests.scoring.generated import Lists, coded, ids_of, judgments_of, long_form, submission_of
from tests.scoring.malformed.conftest import CSV, HEADER, LISTS, LONG, RELEVANCE, Content, is_one_sentence, place, tree

ROOT = Path(__file__).parents[3]
RUN = b"1 Q0 b:0 1 2.0 x\n1 Q0 a:0 2 1.0 x\n2 Q0 c:0 1 1.0 x\n"
MANY = [f"v{number:06}:0" for number in range(150_000)]


def truncated(part: str = "", keep: float = 0.9) -> Callable[[Path], None]:
    """A submission whose Parquet file, or that part of its folder, ends too early."""

    def write(path: Path) -> None:
        write_submission(submission_of(LISTS), path)
        whole = (path / part).read_bytes()
        (path / part).write_bytes(whole[: int(keep * len(whole))])

    return write


def damaged(part: str = "") -> Callable[[Path], None]:
    """A submission with bytes overwritten in the pages of its Parquet file."""

    def write(path: Path) -> None:
        write_submission(submission_of(LISTS), path)
        content = bytearray((path / part).read_bytes())
        content[4:40] = b"\xff" * 36
        (path / part).write_bytes(content)

    return write


REFUSED = {
    "wrong header": ("x.csv", b"class_id,segment\n1,a:0\n", "begins with 'class_id,segment'; the first line"),
    "no header": ("x.csv", CSV[len(HEADER) :], "the first line of a Kaggle CSV is Class,Segments"),
    "header with tabs": ("x.csv", CSV.replace(b",", b"\t"), "the first line"),
    "empty file": ("x.csv", b"", "is empty"),
    "empty file, .gz": ("x.csv.gz", b"", "is empty"),
    "header alone": ("x.csv", HEADER, "contains no classes"),
    "byte order mark alone": ("x.csv", b"\xef\xbb\xbf", "contains no classes"),
    "junk, a million characters": ("x.csv", LONG, "begins with 'xxx"),
    "junk line, a million characters": ("x.csv", HEADER + LONG + b"\n", "line 2 begins with 'xxx"),
    "a million digits": ("x.csv", HEADER + b"1" * 1_200_000 + b",a:0\n", "line 2 begins with '111"),
    "a million commas": ("x.csv", HEADER + b"1," + b"a:0," * 300_000 + b"\n", "line 2: .* comma"),
    "no comma": ("x.csv", HEADER + b"1 a:0\n", "line 2 .*a comma, and its segments"),
    "duplicate class": ("x.csv", CSV + b"\n1,d:0\n", "class 1 is on lines 2 and 5; keep one"),
    "class with a blank": ("x.csv", CSV + b"3 4,d:0\n", "line 4 .*a class without blanks"),
    "no class": ("x.csv", CSV + b",d:0\n", "line 4 .*a class without blanks"),
    "ids with commas": ("x.csv", HEADER + b"2,c:0\n1,a:0,b:0\n", "line 3: the segments of class 1 contain a comma"),
    "ids with tabs": ("x.csv", HEADER + b"1,a:0\tb:0\n", "line 2: .* tab; put blanks"),
    "quotes within a list": ("x.csv", HEADER + b'1,"a:0" "b:0"\n', "line 2: .* quote"),
    "a quote after a list": (
        "x.csv",
        HEADER + b'2,c:0\n1,a:0 b:0"\r\n',
        "line 3: an unpaired quote .*leave a pair",
    ),
    "a quote before a list": ("x.csv", HEADER + b'1, "a:0 b:0\n', "line 2: an unpaired quote .* class 1"),
    "a quote for a list": ("x.csv", HEADER + b'1,"\n2,c:0\n', "line 2: an unpaired quote"),
    "quotes in quotes": ("x.csv", HEADER + b'1,""a:0 b:0""\n', "line 2: an unpaired quote"),
    "quotes around a line": ("x.csv", HEADER + b'"1,a:0 b:0"\n', "line 2 begins with .*a class without blanks"),
    "a quote after a class": ("x.csv", HEADER + b'1",a:0 b:0\n', "line 2 begins with .*a class without blanks"),
    "a quote in the header": ("x.csv", b'"Class,Segments\n1,a:0\n', "the first line of a Kaggle CSV is"),
    "NUL": ("x.csv", HEADER + b"1,a:0\x00\n", "line 2: .* NUL"),
    "CR alone": ("x.csv", CSV.replace(b"\n", b"\r"), "ended by LF or CRLF"),
    "not UTF-8": ("x.csv", HEADER + b"1,\xff\xfe\n", "line 2: class 1 is not UTF-8 text; save it as UTF-8"),
    "UTF-16": ("x.csv", CSV.decode().encode("utf-16"), "in UTF-8"),
    "truncated gzip": ("x.csv.gz", gzip.compress(CSV)[:-9], "damaged gzip file .*; copy it again"),
    "gzip cut in its header": ("x.csv.gz", gzip.compress(CSV)[:6], "damaged gzip"),
    "gzip that is none": ("x.csv.gz", b"\x1f\x8bnot gzip", "damaged gzip"),
    "gzip with a tail": ("x.csv.gz", gzip.compress(CSV) + b"tail", "damaged gzip"),
    "text named Parquet": ("x.parquet", CSV, "cannot be read as Parquet .*; write it again"),
    "empty Parquet": ("x.parquet", b"", "cannot be read as Parquet"),
    "truncated Parquet": ("x.parquet", truncated(), "cannot be read as Parquet"),
    "damaged Parquet": ("x.parquet", damaged(), "cannot be read as Parquet"),
    "missing column": ("x.parquet", long_form().drop("rank").write_parquet, r"lacks \['rank'\]"),
    "rank twice": (
        "x.parquet",
        long_form(rank=[3, 3]).write_parquet,
        "class 1 has the rank 3 twice; number its segments",
    ),
    "fractional rank": ("x.parquet", long_form(rank=[1.5, 2.5]).write_parquet, "columns"),
    "negative rank": ("x.parquet", long_form(rank=[-1, 2]).write_parquet, "whole numbers from 0"),
    "null rank": ("x.parquet", long_form(rank=[1, None]).write_parquet, "null"),
    "empty id": ("x.parquet", long_form(segment_id=["", "a:0"]).write_parquet, "empty segment id"),
    "no rows": ("x.parquet", long_form().clear().write_parquet, "contains no classes"),
    "no coded folder": ("x", lambda path: path.mkdir(), "lists.parquet is missing; a coded submission is"),
    "a folder named .csv": ("x.csv", lambda path: path.mkdir(), "lists.parquet is missing"),
    "a folder named .run": ("x.run", lambda path: path.mkdir(), "lists.parquet is missing"),
    "no segments": ("x", coded(without="segments.parquet"), "segments.parquet is missing"),
    "no lists": ("x", coded(without="lists.parquet"), "lists.parquet is missing"),
    "truncated lists": ("x", truncated("lists.parquet"), "lists.parquet cannot be read as Parquet"),
    "truncated segments": ("x", truncated("segments.parquet"), "segments.parquet cannot be read as Parquet"),
    "damaged lists": ("x", damaged("lists.parquet"), "lists.parquet cannot be read as Parquet"),
    "damaged segments": ("x", damaged("segments.parquet"), "segments.parquet cannot be read as Parquet"),
    "code without segment": ("x", coded([(0, 9), (2,)]), "class 1: code 9 has no segment"),
    "null code": ("x", coded([(0, None), (2,)]), "nulls"),
    "null list": ("x", coded([None, (2,)]), "nulls"),
    "duplicate class, coded": ("x", coded(classes=(1, 1)), "class 1 has more than one row"),
    "no classes, coded": ("x", coded([], classes=()), "contains no classes"),
    "segments out of order": ("x", coded(segments=("b:0", "a:0", "c:0")), "sorted"),
    "segments twice": ("x", coded(segments=("a:0", "a:0", "c:0")), "each id once"),
    "empty segment": ("x", coded(segments=("", "a:0", "c:0")), "empty segment id"),
    "scores of another length": ("x", coded(scores=[[0.5], [0.5]]), "of unequal length"),
    **{
        f"a score {value}": ("x", coded(scores=[[0.5, value], [0.5]]), "class 1: a score is null, NaN or infinite")
        for value in (None, float("nan"), float("inf"))
    },
    "run with five fields": ("x.run", b"1 Q0 a:0 1 1.5\n", "line 1 has 5 fields; a line is `topic Q0"),
    "run with a million characters": ("x.run", RUN + LONG + b"\n", "line 4 has 1 fields"),
    "score in words": ("x.run", RUN + b"3 Q0 a:0 1 high x\n", "line 4: the score is no number"),
    "score of a million characters": ("x.run", b"1 Q0 a:0 1 " + LONG + b" x\n", "line 1: the score is no number"),
    "score NaN": ("x.run", b"\n" + RUN + b"3 Q0 a:0 1 nan x\n", "line 5: score is NaN"),
    "blank run": ("x.run", b"\n\n", "has no lines"),
    "truncated run": ("x.run", gzip.compress(RUN)[:-9], "damaged gzip"),
    "run that is not UTF-8": ("x.run", b"1 Q0 \xff 1 1.5 x\n", "is not UTF-8 text"),
    "no such format": ("x.txt", CSV[1:], "no known format; name it"),
}


@pytest.mark.parametrize(("name", "content", "complaint"), REFUSED.values(), ids=REFUSED)
def test_a_malformed_submission_is_refused(name, content, complaint, scoring, files):
    place(files / name, content)
    before = tree(files)
    for command in (
        ["evaluate", name, "judgments.csv"],
        ["fuse", name, "good.csv", "--out", "fused.csv"],
        ["fuse", "good.csv", name, "--out", "fused"],
        ["check", name, "--data", "data"],
    ):
        code, out, err = scoring(*command)
        assert (code, out) == (1, ""), command
        assert is_one_sentence(err), err[:2000]
        assert name in err
        assert re.search(complaint, err), err
        assert tree(files) == before


TWICE = "repeated segment in the list of class 1; the first rank of each counts"
READ: dict[str, tuple[str, Content, Lists, str]] = {
    "plain": ("x.csv", CSV, LISTS, ""),
    "no last line end": ("x.csv", CSV[:-1], LISTS, ""),
    "CRLF": ("x.csv", CSV.replace(b"\n", b"\r\n"), LISTS, ""),
    "byte order mark": ("x.csv", b"\xef\xbb\xbf" + CSV, LISTS, ""),
    "byte order mark and CRLF, gzip": ("x.csv.gz", gzip.compress(b"\xef\xbb\xbf" + CSV), LISTS, ""),
    "gzip without .gz": ("x.csv", gzip.compress(CSV), LISTS, ""),
    "no gzip in spite of .gz": ("x.csv.gz", CSV, LISTS, ""),
    "quotes": ("x.csv", b'"Class","Segments"\n"1","b:0 a:0"\n2,"c:0"\n', LISTS, ""),
    "quotes and blanks": ("x.csv", HEADER + b'"1" , " b:0 a:0 " \r\n2,"c:0"\n7,""\n', LISTS | {7: []}, ""),
    "blanks": ("x.csv", HEADER + b" 1 , b:0  a:0 \n2,c:0\n", LISTS, ""),
    "blank lines": ("x.csv", HEADER + b"\n1,b:0 a:0\n   \n2,c:0\n\r\n\n", LISTS, ""),
    "classes in any order": ("x.csv", HEADER + b"2,c:0\n1,b:0 a:0\n", LISTS, ""),
    "empty list": ("x.csv", HEADER + b"1,\n2,c:0\n", {1: [], 2: ["c:0"]}, ""),
    "empty lists alone": ("x.csv", HEADER + b"1,\n2,\n", {1: [], 2: []}, "no judged pair is in x.csv"),
    "id twice": ("x.csv", HEADER + b"1,b:0 a:0 b:0\n2,c:0\n", LISTS, f"x.csv: 1 {TWICE}"),
    "long id twice": ("x.csv", HEADER + b"2,c:0\n1,longer-id b:0 longer-id\n", {1: ["longer-id", "b:0"], 2: ["c:0"]},
                      f"x.csv: 1 {TWICE}"),
    "id without colon": ("x.csv", HEADER + b"1,FBIS3-1 a\n2,c:0\n", {1: ["FBIS3-1", "a"], 2: ["c:0"]}, ""),
    "no-break space": ("x.csv", HEADER + "1,a\u00a0b a:0\n2,c:0\n".encode(), {1: ["a\u00a0b", "a:0"], 2: ["c:0"]}, ""),
    "a list of a million characters": (
        "x.csv", HEADER + b"1," + " ".join(MANY).encode() + b" a:0\n2,c:0\n", {1: [*MANY, "a:0"], 2: ["c:0"]}, ""),
    "an id of a million characters": (
        "x.csv", HEADER + b"1," + LONG + b" a:0\n2,c:0\n", {1: [LONG.decode(), "a:0"], 2: ["c:0"]}, ""),
    "long form with gaps": (
        "x.parquet", long_form(class_id=[2, 1, 1], segment_id=["c:0", "a:0", "b:0"], rank=[7, 30, 4]).write_parquet,
        LISTS, ""),
    "long form with an empty class": (
        "x.parquet", long_form(class_id=[1, 2], segment_id=["a:0", None], rank=[1, None]).write_parquet,
        {1: ["a:0"], 2: []}, ""),
    "long form with an id twice": (
        "x.parquet", long_form(segment_id=["a:0", "a:0"]).write_parquet,
        {1: ["a:0"]}, f"x.parquet: 1 {TWICE}"),
    "coded": ("x", coded(), LISTS, ""),
    "coded with a code twice": ("x", coded([(1, 0, 1), (2,)]), LISTS, f"lists.parquet: 1 {TWICE}"),
    "run": ("x.run", RUN, LISTS, ""),
    "run with CRLF, byte order mark, gzip": (
        "x.run", gzip.compress(b"\xef\xbb\xbf" + RUN.replace(b"\n", b"\r\n")), LISTS, ""),
    "run with tabs and blank lines": ("x.run", b"\n" + RUN.replace(b" ", b"\t  ") + b"\n", LISTS, ""),
    "run with ranks that are wrong": ("x.run", RUN.replace(b" 1 ", b" 9 ", 1).replace(b"0 9", b"0 5"), LISTS, ""),
    "run with a document twice": ("x.run", RUN + b"1 Q0 b:0 3 0.5 x\n", LISTS, f"x.run: 1 {TWICE}"),
    "run with infinite scores": ("x.run", RUN.replace(b"2.0", b"inf").replace(b"1.0", b"-inf"), LISTS, ""),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "lists", "warning"), READ.values(), ids=READ)
def test_a_peculiar_submission_is_read_as_documented(name, content, lists, warning, scoring, files):
    place(files / name, content)
    code, out, err = scoring("evaluate", name, "judgments.csv", "--json")
    assert code == 0, err
    expected = mean_average_precision(submission_of(lists), judgments_of(RELEVANCE))
    assert json.loads(out)["map"] == expected.map
    assert json.loads(out)["retrieved"] == expected.retrieved
    assert warning in err
    assert (err == "") == (warning == "")
    code, out, err = scoring("fuse", name, "--out", "fused.parquet", "--top", "200000")  # one list fused is itself
    assert code == 0, err
    assert ids_of(read_submission(files / "fused.parquet")) == lists
    assert (TWICE in err) == (TWICE in warning)


def test_a_missing_class_counts_as_the_mode_says(scoring, files):
    Path("part.csv").write_bytes(HEADER + b"2,c:0\n")
    _, out, err = scoring("evaluate", "part.csv", "judgments.csv", "--json")
    assert "part.csv lacks 1 class with positives; each counts 0" in err
    strict = json.loads(out)
    google = json.loads(scoring("evaluate", "part.csv", "judgments.csv", "--json", "--mode", "google")[1])
    assert (strict["map"], strict["classes"], strict["per_class"]) == (0.5, 2, {"1": 0.0, "2": 1.0})
    assert (google["map"], google["classes"], google["per_class"]) == (1.0, 1, {"2": 1.0})
    code, _, err = scoring("fuse", "good.csv", "part.csv", "--out", "fused.csv")
    assert code == 0
    assert "part lacks 1 class" in err
    assert ids_of(read_submission(files / "fused.csv")) == LISTS
    code, out, _ = scoring("check", "part.csv", "--data", "data")
    assert code == 1
    assert "fault: 1 scored class missing, each of which counts 0: 1" in out


def test_a_list_longer_than_k_is_cut_there(scoring, files):
    ids = [f"v{number:06}:0" for number in range(K + 1)]
    for name, (last, beyond) in {"in.csv": ("a:0", "b:0"), "out.csv": ("b:0", "a:0")}.items():
        line = " ".join([*ids[: K - 1], last, beyond])
        Path(name).write_text(f"Class,Segments\n1,{line}\n2,c:0\n")
    found = {
        name: json.loads(scoring("evaluate", name, "judgments.csv", "--json")[1]) for name in ("in.csv", "out.csv")
    }
    assert found["in.csv"]["per_class"] == {"1": 1.0, "2": 1.0}
    assert found["out.csv"]["per_class"] == {"1": 0.0, "2": 1.0}
    assert found["out.csv"]["retrieved"] == 2  # b:0 and c:0
    assert scoring("fuse", "in.csv", "--out", "fused.csv")[0] == 0
    assert ids_of(read_submission(files / "fused.csv"))[1] == [*ids[: K - 1], "a:0"]
    code, out, _ = scoring("check", "in.csv", "--data", "data")
    assert code == 1
    assert "fault: 1 class with more than 100,000 segments, of which the rest is cut off: 1" in out


def test_check_names_an_id_of_a_million_characters_briefly(scoring, files):
    Path("x.csv").write_bytes(HEADER + b"1," + LONG + b"\n2,c:0\n")
    code, out, _ = scoring("check", "x.csv", "--data", "data")
    assert code == 1
    assert "such as xxx" in out
    assert len(out) < 1000


@pytest.mark.parametrize("out", ["fused.csv", "fused.csv.gz", "fused.parquet", "fused.run", "fused"])
def test_what_fails_half_way_leaves_the_old_file(out, scoring, files):
    """The fault stands in the last class, when others have been written already."""
    assert scoring("fuse", "good.csv", "--out", out)[0] == 0
    before = tree(files), ids_of(read_submission(files / out))
    Path("late.csv").write_bytes(CSV.replace(b"b:0 a:0", b"z:0") + b"3,d:0,e:0\n")
    code, _, err = scoring("fuse", "late.csv", "--out", out)
    assert code == 1
    assert "line 4: the segments of class 3 contain a comma" in err
    Path("late.csv").unlink()
    assert (tree(files), ids_of(read_submission(files / out))) == before


def test_topics_without_documents_are_told_when_a_run_is_written(scoring, files):
    Path("x.csv").write_bytes(HEADER + b"1,\n2,c:0\n")
    code, _, err = scoring("fuse", "x.csv", "--out", "fused.run")
    assert code == 0
    assert "1 topic with nothing retrieved left out" in err
    assert ids_of(read_submission(files / "fused.run")) == {2: ["c:0"]}


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_fault_is_all_that_the_program_prints(jobs, files):
    Path("x.csv").write_bytes(HEADER + b"1,a:0\n2,b:0,c:0\n")
    command = [sys.executable, "-m", "scoring", "fuse", "x.csv", "good.csv", "--out", "fused.csv", "--jobs", jobs]
    done = subprocess.run(command, cwd=files, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(
        r"error: \S*x\.csv, line 3: the segments of class 2 contain a comma; put blanks between them\n", done.stderr
    )
    assert not Path("fused.csv").exists()


def test_repeated_segments_are_logged_once_per_file(scoring, files):
    place(files / "many.csv", HEADER + b"".join(b"%d,a:0 b:0 a:0\n" % c for c in range(30)))
    for command in (("evaluate", "many.csv", "judgments.csv"), ("fuse", "many.csv", "--out", "fused")):
        assert scoring(*command)[2].count("repeated segment") == 1
