"""Topics are names: any text, in every format and in mixes of formats."""

import json

import polars as pl
import pytest

from scoring.lists.opening import open_submissions, read_submission
from scoring.lists.writing import write_submission
from tests.scoring.generated import ids_of, submission_of

TOPICS = ["1048585", "051", "51", "q1", "31_1"]


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(files) -> None:
    """Two runs over TOPICS, which agree on the first document, and qrels in three formats."""
    rows = [(topic, f"d-{topic}", 1) for topic in TOPICS] + [(topic, "other", 0) for topic in TOPICS]
    for name, scores in (("a", (2, 1)), ("b", (3, 1))):
        lines = [f"{t} Q0 d-{t} 9 {scores[0]} x\n{t} Q0 other 9 {scores[1]} x\n" for t in TOPICS]
        (files / f"{name}.run").write_text("".join(lines))
    (files / "j.qrels").write_text("".join(f"{t} 0 {d} {r}\n" for t, d, r in rows))
    table = pl.DataFrame(rows, ["class_id", "segment_id", "relevance"], orient="row")
    table.write_csv(files / "j.csv")
    table.with_columns(pl.col("relevance").cast(pl.Float64)).write_parquet(files / "j.parquet")


@pytest.mark.parametrize("suffix", ["", ".csv", ".csv.gz", ".parquet", ".run"])
def test_names_go_through_every_format(suffix, scoring, files):
    names(files)
    for judgments in ("j.qrels", "j.csv", "j.parquet"):
        code, out, err = scoring("evaluate", "a.run", judgments, "--json")
        assert code == 0, err
        assert json.loads(out)["per_class"] == dict.fromkeys(sorted(TOPICS), 1.0)
    code, _, err = scoring("fuse", "a.run", "b.run", "--out", f"fused{suffix}")
    assert code == 0, err
    assert ids_of(read_submission(files / f"fused{suffix}")) == {t: [f"d-{t}", "other"] for t in sorted(TOPICS)}
    # Together with a file that has only integers, all classes are names.
    write_submission(submission_of({51: ["other"]}), files / "integers.csv")
    both = open_submissions([files / f"fused{suffix}", files / "integers.csv"])
    assert both["integers"].classes == ["51"]
    code, _, err = scoring("fuse", f"fused{suffix}", "integers.csv", "--weights", "0.1,0.9", "--out", f"mix{suffix}")
    assert code == 0, err
    assert ids_of(read_submission(files / f"mix{suffix}"))["51"] == ["other", "d-51"]
    assert ids_of(read_submission(files / f"mix{suffix}"))["051"] == ["d-051", "other"]


@pytest.mark.frameworks
def test_weights_are_searched_on_names(scoring, files):
    names(files)
    flags = ["--judgments", "j.qrels", "--trials", "8", "--out", "w.json", "--json"]
    code, out, err = scoring("optimize", "a.run", "b.run", *flags)
    assert code == 0, err
    assert json.loads(out)["map"] == 1.0


def test_integers_order_by_value_and_names_as_text(files):
    for topics, expected in ((["10", "9", "65535"], [9, 10, 65535]), (["10", "9", "65536"], ["10", "65536", "9"])):
        (files / "x.run").write_text("".join(f"{topic} Q0 d 1 1 x\n" for topic in topics))
        assert read_submission(files / "x.run").classes == expected


def test_relevance_below_zero_is_unjudged(scoring, files):
    (files / "x.run").write_text("1 Q0 bad 1 3 x\n1 Q0 good 2 2 x\n")
    (files / "j.qrels").write_text("1 0 bad -1\n1 0 good 1\n")
    code, out, err = scoring("evaluate", "x.run", "j.qrels", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["map"] == 1.0
    assert json.loads(out)["judged"] == 1


def test_files_of_pandas_are_read(files):
    rows = pl.DataFrame({"class_id": [1.0, 1.0], "segment_id": ["b", "a"], "rank": [1.0, 2.0]})
    rows.with_columns(pl.col("segment_id").cast(pl.Categorical)).write_parquet(files / "x.parquet")
    assert ids_of(read_submission(files / "x.parquet")) == {1: ["b", "a"]}
