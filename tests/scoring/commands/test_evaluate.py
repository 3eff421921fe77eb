"""evaluate and compare, from the command line."""

import json
from pathlib import Path

import ir_measures
import numpy as np
import polars as pl
import pytest

from scoring.lists.judgments import read_judgments
from scoring.lists.opening import read_submission
from scoring.lists.writing import write_submission
from scoring.measures.average_precision import Mode, ranks_of_blocks
from scoring.measures.bootstrap import Bootstrap, holm
from tests.scoring.generated import judgments_of, submission_of

CLASSES = range(6)
NOISE = {"fine": 0.3, "same": 0.3, "noise": 9.0}


@pytest.fixture
def files(tmp_path, monkeypatch):
    """In the working folder: fine.csv, same.csv (nearly as good), noise.csv, part.csv (one class) and judgments.csv."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    ids = np.array([f"v{number:02}:0" for number in range(40)])
    truth = {c: rng.normal(size=len(ids)) for c in CLASSES}
    for name, noise in NOISE.items():
        lists = {c: ids[np.argsort(-truth[c] - noise * rng.normal(size=len(ids)))] for c in CLASSES}
        write_submission(submission_of(lists), tmp_path / f"{name}.csv")
    write_submission(submission_of({0: ids[np.argsort(-truth[0])]}), tmp_path / "part.csv")
    relevance = {(c, str(s)): int(truth[c][i] > 0.5) for c in CLASSES for i, s in enumerate(ids)}
    judgments_of(relevance).write_csv(tmp_path / "judgments.csv")
    return tmp_path


def measured(names, mode: Mode = "strict", k=100_000):
    judgments = read_judgments(Path("judgments.csv"))
    bootstrap = Bootstrap(judgments)
    return {
        name: bootstrap.measure(*ranks_of_blocks([read_submission(Path(f"{name}.csv"))], judgments, k), mode)
        for name in names
    }


def test_evaluate_prints_its_interval_with_and_without_processes(scoring, files):
    low, high = measured(["fine"])["fine"].interval
    code, out, _ = scoring("evaluate", "fine.csv", "judgments.csv")
    assert code == 0
    assert out.splitlines()[1] == f"95 % interval {low:.6f} to {high:.6f} over 1,000 bootstrap resamples of 40 videos"
    assert scoring("evaluate", "fine.csv", "judgments.csv", "--jobs", "2")[1] == out


@pytest.mark.parametrize("mode", ["strict", "google"])
def test_every_pair_is_compared_on_the_same_resamples(scoring, files, mode):
    flags = ["--judgments", "judgments.csv", "--mode", mode, "--k", "30", "--json"]
    code, out, err = scoring("compare", *(f"{name}.csv" for name in [*NOISE, "part"]), *flags)
    assert code == 0, err
    compared, expected = json.loads(out), measured([*NOISE, "part"], mode, 30)
    order = list(compared["submissions"])
    assert order == sorted(expected, key=lambda name: -expected[name].map)
    assert order[0] == ("part" if mode == "google" else "fine")
    assert {name: (row["map"], row["low"], row["high"]) for name, row in compared["submissions"].items()} == {
        name: (submission.map, *submission.interval) for name, submission in expected.items()
    }
    assert compared["submissions"]["part"]["classes"] == (1 if mode == "google" else 6)
    assert [(pair["one"], pair["other"]) for pair in compared["differences"]] == [
        (one, other) for i, one in enumerate(order) for other in order[i + 1 :]
    ]
    for pair in compared["differences"]:
        difference = expected[pair["one"]].over(expected[pair["other"]])
        assert (pair["map"], pair["low"], pair["high"], pair["above"]) == (
            difference.map, difference.low, difference.high, difference.above
        )  # fmt: skip


def test_compare_in_words(scoring, files):
    code, out, err = scoring("compare", "noise.csv", "same.csv", "fine.csv", "--judgments", "judgments.csv")
    assert (code, err) == (0, "")
    lines, expected = out.splitlines(), measured(NOISE)
    assert lines[0] == "MAP@100000 (strict) on 40 videos, best first."
    assert [line.split()[0] for line in lines[3:6]] == ["fine", "same", "noise"]
    gain = expected["fine"].over(expected["noise"])
    ps = holm([gain.p, expected["fine"].over(expected["same"]).p, expected["same"].over(expected["noise"]).p])
    assert gain.low > 0 > expected["fine"].over(expected["same"]).low
    assert lines[5].split()[-5:] == [f"{gain.map:.4f}", f"{gain.low:+.4f}", "to", f"{gain.high:+.4f}", "<0.001"]
    assert ps[0] < 0.001
    assert lines[-2] == "p is corrected (Holm) for 3 comparisons; intervals are not corrected."
    assert lines[-1] == "Not told apart from fine (p of 0.05 or more): same."
    out = scoring("compare", "fine.csv", "noise.csv", "--judgments", "judgments.csv", "--jobs", "2")[1]
    assert out.endswith("fine is above by more than chance explains: every p is below 0.05.\n")


def test_two_topics_give_no_verdict(scoring, files):
    """The first is right on both topics, the second on neither."""
    for name, order in (("a.run", "xy"), ("b.run", "yx")):
        lines = [f"{topic} Q0 {document} 0 {-rank} t" for topic in (1, 2) for rank, document in enumerate(order)]
        Path(name).write_text("\n".join(lines) + "\n")
    Path("q.txt").write_text("1 0 x 1\n1 0 y 0\n2 0 x 1\n2 0 y 0\n")
    flags = ["a.run", "b.run", "--judgments", "q.txt", "--format", "trec"]
    out = scoring("compare", *flags)[1]
    assert out.startswith("MAP@100000 (strict) on 2 classes, best first.")
    assert "No verdict: 2 classes are too few" in out
    printed = json.loads(scoring("compare", *flags, "--json")[1])
    assert (printed["unit"], printed["units"]) == ("class", 2)
    assert [pair["told_apart"] for pair in printed["differences"]] == [None]


def test_the_unit_is_given_or_known(scoring, files):
    lines = [f"{topic} Q0 https://{document}.org 0 {-document} t" for topic in range(12) for document in range(5)]
    Path("urls.run").write_text("\n".join(lines) + "\n")
    qrels = [f"{topic} 0 https://{topic % 5}.org 1" for topic in range(12)]
    Path("urls.txt").write_text("\n".join(qrels) + "\n")
    out = scoring("evaluate", "urls.run", "--judgments", "urls.txt", "--format", "trec")[1]
    assert "bootstrap resamples of 12 classes" in out
    code, _, err = scoring("evaluate", "urls.run", "--judgments", "urls.txt", "--format", "trec", "--unit", "video")
    assert (code, "say --unit class" in err) == (1, True)
    by_class = scoring("evaluate", "fine.csv", "--judgments", "judgments.csv", "--unit", "class")[1]
    assert "bootstrap resamples of 6 classes" in by_class


MEASURES = ["AP", "nDCG@10", "P@5", "Recall@10", "Judged@10"]


@pytest.mark.parametrize("level", [1, 2])
def test_other_measures_are_those_of_ir_measures(scoring, files, level):
    """Graded judgments of a part of the documents; one topic is not in the run, one has nothing relevant."""
    rng = np.random.default_rng(0)
    run = [
        (str(t), f"d{d}", float(s)) for t in range(1, 9) for d, s in zip(rng.permutation(30), range(30), strict=True)
    ]
    qrels = [(str(t), f"d{d}", int(rng.integers(3)) * (t != 5)) for t in range(1, 10) for d in rng.permutation(40)[:20]]
    Path("x.run").write_text("".join(f"{t} Q0 {d} 0 {s} tag\n" for t, d, s in run))
    Path("x.qrels.txt").write_text("".join(f"{t} 0 {d} {grade}\n" for t, d, grade in qrels))
    measures = {name: ir_measures.parse_measure(name) for name in MEASURES}
    if level > 1:
        measures |= {name: measures[name](rel=level) for name in ("AP", "P@5", "Recall@10")}
    run, qrels = [ir_measures.ScoredDoc(*row) for row in run], [ir_measures.Qrel(*row) for row in qrels]
    expected = ir_measures.calc_aggregate(measures.values(), qrels, run)
    flags = ["x.run", "--judgments", "x.qrels.txt", "--format", "trec", "--relevance-level", str(level), "--json"]
    code, out, err = scoring("evaluate", *flags, "--measure", "MAP", *MEASURES, "--per-class", "values.csv")
    assert code == 0, err
    printed = json.loads(out)["measures"]
    assert printed == pytest.approx({name: expected[measure] for name, measure in measures.items()})
    table = pl.read_csv("values.csv")
    assert table.columns == ["class_id", "MAP", *MEASURES]
    assert table["AP"].mean() == pytest.approx(printed["AP"])
    judged = ir_measures.AP(judged_only=True, rel=level)
    ours = {str(class_id): value for class_id, value in table.drop_nulls("MAP").select("class_id", "MAP").iter_rows()}
    assert ours == pytest.approx({q: v for q, v, m in _values(judged, qrels, run) if q in ours})
    assert (
        scoring("evaluate", "x.run", "x.qrels.txt", *flags[3:], "--measure", *MEASURES)[1]
        == json.dumps({"measures": printed}) + "\n"
    )


def _values(measure, qrels, run):
    return [(metric.query_id, metric.value, metric.measure) for metric in ir_measures.iter_calc([measure], qrels, run)]


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["--measure", "nonsense"], "--measure nonsense is not a known measure"),
        (["--measure", "NumRet"], "--measure NumRet is not a known measure"),
        (["--per-class", "x.txt"], "--per-class x.txt has no known format"),
        (["--relevance-level", "0"], "--relevance-level is 0"),
    ],
)
def test_evaluate_refuses(scoring, files, args, complaint):
    code, out, err = scoring("evaluate", "fine.csv", "--judgments", "judgments.csv", *args)
    assert (code, out) == (1, "")
    assert complaint in err
    assert "give one submission and --judgments FILE" in scoring("evaluate", "fine.csv")[2]


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["fine.csv"], "give at least two submissions"),
        (["fine.csv", "fine.csv"], "two submissions are named fine"),
        (["fine.csv", "nowhere.csv"], "nowhere.csv does not exist"),
        (["fine.csv", "same.csv", "--k", "0"], "--cutoff is 0"),
        (["fine.csv", "other.csv", "--mode", "google"], "other.csv: the submission has none of the classes"),
    ],
)
def test_compare_refuses(scoring, files, args, complaint):
    write_submission(submission_of({99: ["v00:0"]}), files / "other.csv")
    code, out, err = scoring("compare", *args, "--judgments", "judgments.csv")
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert complaint in err


def test_compare_warns_of_what_a_submission_lacks(scoring, files, caplog):
    assert scoring("compare", "fine.csv", "part.csv", "--judgments", "judgments.csv")[0] == 0
    assert "part.csv lacks 5 classes with positives; each counts 0" in caplog.text
