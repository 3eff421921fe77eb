"""TREC runs and qrels, also together with other formats."""

import json
from pathlib import Path

import pytest

from scoring.__main__ import evaluate
from scoring.commands.fuse import fuse
from scoring.lists.judgments import read_judgments
from scoring.lists.opening import open_submissions, read_submission
from scoring.lists.writing import write_submission
from tests.scoring.generated import submission_of


def lists() -> dict[int, list[str]]:
    return {7: ["b", "a", "c"], 301: ["FBIS3-1", "LA-2"]}


def test_a_written_run_is_read_as_it_was(tmp_path: Path) -> None:
    submission = submission_of(lists())
    write_submission(submission, tmp_path / "fused.run")
    again = read_submission(tmp_path / "fused.run")
    assert again.long().equals(submission.long())
    assert (tmp_path / "fused.run").read_text().splitlines()[0] == "7 Q0 b 1 3 fused"


def test_another_reader_finds_the_same_order(tmp_path: Path) -> None:
    ir_measures = pytest.importorskip("ir_measures")
    write_submission(submission_of(lists()), tmp_path / "fused.run")
    scored = sorted(ir_measures.read_trec_run(str(tmp_path / "fused.run")), key=lambda row: (row.query_id, -row.score))
    assert [(row.query_id, row.doc_id) for row in scored] == [
        ("301", "FBIS3-1"), ("301", "LA-2"), ("7", "b"), ("7", "a"), ("7", "c"),
    ]  # fmt: skip


def test_a_suffix_counts_for_more_than_the_format(tmp_path: Path) -> None:
    (tmp_path / "qrels.txt").write_text("7 0 a 1\n7 0 b 0\n")
    (tmp_path / "judgments.csv").write_text("class_id,segment_id,relevance\n7,a,1\n7,b,0\n")
    (tmp_path / "one").write_text("7 Q0 a 0 2.5 x\n7 Q0 b 1 1.5 x\n")
    write_submission(submission_of({7: ["b", "a"]}), tmp_path / "two.csv")
    opened = open_submissions([tmp_path / "one", tmp_path / "two.csv"], "trec")
    assert [source.read([7]).long()["segment_id"].to_list() for source in opened.values()] == [["a", "b"], ["b", "a"]]
    qrels, table = (read_judgments(tmp_path / name, "trec").pairs for name in ("qrels.txt", "judgments.csv"))
    assert qrels.equals(table)


def test_an_id_with_a_blank_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"fused\.run: topic 7 has white space"):
        write_submission(submission_of({7: ["a b"]}), tmp_path / "fused.run")
    assert not (tmp_path / "fused.run").exists()


def test_runs_are_fused_and_scored_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "qrels.txt").write_text("7 0 a 1\n7 0 b 0\n")
    for name, scores in (("one", (2.5, 1.5)), ("two", (1.0, 3.0))):
        (tmp_path / name).write_text(f"7 Q0 a 0 {scores[0]} x\n7 Q0 b 1 {scores[1]} x\n")
    fused = tmp_path / "fused.csv"
    fuse((tmp_path / "one", tmp_path / "two"), out=fused, weights="0.9,0.1", format="trec")
    capsys.readouterr()
    evaluate((fused,), judgments=tmp_path / "qrels.txt", format="trec", json=True)
    assert json.loads(capsys.readouterr().out)["map"] == 1.0
