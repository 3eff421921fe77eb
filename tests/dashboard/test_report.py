"""The report on a line-up as one file."""

import re
import sys
from pathlib import Path

import pytest

from dashboard.__main__ import report
from tests.dashboard.searched import EXPERIMENT, LINEUP, MEMBERS
from tracking.runs import find_run
from tracking.writing import open_parent


def written(path: Path, dataset: str, lineup: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "argv", ["dashboard", "report", "--dataset", dataset])
    report(dataset, lineup, path)
    return path.read_text()


def test_a_report_is_one_file_with_every_picture_and_table(
    searched: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    html = written(tmp_path / "report.html", EXPERIMENT, LINEUP, monkeypatch)
    for title in ("Overview", "Members", "Ensemble", "What is lost", "Where these numbers come from"):
        assert f"<h2>{title}</h2>" in html
    assert html.count("<svg") == html.count("<figure") >= 6
    assert html.count("<textarea") == 3 * html.count("<table>")
    assert not re.search(r"""(src|href)=["']?(http|//|file)""", html), "it must not need another file"
    score = find_run(EXPERIMENT, kind="ensemble").metrics["ensemble/map"]
    assert f'<td class="number">{score:.4f}</td>' in html
    assert all(name in html for name in MEMBERS)
    assert r"\begin{tabular}" in html


def test_a_report_on_a_half_finished_line_up_says_what_is_missing(
    seeded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    html = written(tmp_path / "report.html", "audioset", "audioset", monkeypatch)
    assert "have not been measured together yet" in html
    assert "✕ failed" in html


def test_names_in_a_report_are_text(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "<script>alert(1)</script>"
    tags = {"kind": "member", "member": name, "lineup": name, "dataset": "d"}
    with open_parent("synthetic", name, tags) as parent:
        parent.metrics({"finetune/map": 0.5})
    html = written(tmp_path / "report.html", "synthetic", name, monkeypatch)
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_a_line_up_that_is_not_there_is_named_with_those_that_are(seeded: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no line-up paper on synthetic; it has .*synthetic: demo"):
        report("synthetic", "paper", tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
