"""evaluate and compare, from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest

from scoring.lists.judgments import read_judgments
from scoring.lists.opening import read_submission
from scoring.lists.writing import write_submission
from scoring.measures.average_precision import Mode, ranks_of_blocks
from scoring.measures.bootstrap import Bootstrap
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


def test_evaluate_says_its_interval_wherever_it_is_worked_out(scoring, files):
    low, high = measured(["fine"])["fine"].interval
    code, out, _ = scoring("evaluate", "fine.csv", "judgments.csv")
    assert code == 0
    assert out.splitlines()[1] == f"95 % interval {low:.6f} to {high:.6f} over 1,000 bootstrap resamples of the videos"
    assert scoring("evaluate", "fine.csv", "judgments.csv", "--jobs", "2")[1] == out


@pytest.mark.parametrize("mode", ["strict", "google"])
def test_every_pair_is_compared_on_the_same_draws(scoring, files, mode):
    flags = ["--judgments", "judgments.csv", "--mode", mode, "--k", "30", "--json"]
    code, out, err = scoring("compare", *(f"{name}.csv" for name in [*NOISE, "part"]), *flags)
    assert code == 0, err
    found, expected = json.loads(out), measured([*NOISE, "part"], mode, 30)
    order = list(found["submissions"])
    assert order == sorted(expected, key=lambda name: -expected[name].map)
    assert order[0] == ("part" if mode == "google" else "fine")
    assert {name: (of["map"], of["low"], of["high"]) for name, of in found["submissions"].items()} == {
        name: (of.map, *of.interval) for name, of in expected.items()
    }
    assert found["submissions"]["part"]["classes"] == (1 if mode == "google" else 6)
    assert [(pair["one"], pair["other"]) for pair in found["differences"]] == [
        (one, other) for i, one in enumerate(order) for other in order[i + 1 :]
    ]
    for pair in found["differences"]:
        difference = expected[pair["one"]].over(expected[pair["other"]])
        assert (pair["map"], pair["low"], pair["high"], pair["above"]) == (
            difference.map, difference.low, difference.high, difference.above
        )  # fmt: skip


def test_compare_in_words(scoring, files):
    code, out, err = scoring("compare", "noise.csv", "same.csv", "fine.csv", "--judgments", "judgments.csv")
    assert (code, err) == (0, "")
    lines, of = out.splitlines(), measured(NOISE)
    assert (
        lines[0]
        == "MAP@100000 (strict), best first. Intervals are over the same 1,000 bootstrap resamples of the videos."
    )
    assert [line.split()[0] for line in lines[3:6]] == ["fine", "same", "noise"]
    gain = of["fine"].over(of["noise"])
    assert gain.low > 0 > of["fine"].over(of["same"]).low
    shown = [f"{gain.map:.4f}", f"{gain.low:+.4f}", "to", f"{gain.high:+.4f}", f"{gain.above:.1%}"]
    assert lines[5].split()[-5:] == shown
    assert lines[-1] == "Not told apart from fine, since the interval of the difference holds 0: same."
    out = scoring("compare", "fine.csv", "noise.csv", "--judgments", "judgments.csv", "--jobs", "2")[1]
    assert out.endswith("fine is above by more than chance explains: no interval of a difference holds 0.\n")
    assert lines[5].split() == out.splitlines()[4].split()


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
