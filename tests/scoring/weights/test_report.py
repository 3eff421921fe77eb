from dataclasses import replace

import numpy as np
import pytest

from scoring.fusion.fusion import MEMBER_K, fuse
from scoring.measures.average_precision import ranks_of_blocks
from scoring.measures.bootstrap import Bootstrap, Difference
from scoring.weights.cross_validation import CrossValidation
from scoring.weights.find import search_and_measure
from scoring.weights.report import Report, read_report
from scoring.weights.settings import SearchSettings
from tests.scoring.generated import judgments_of, submission_of
from videos.judgments import Judgments

REPORT = Report(
    map=0.8,
    interval=(0.7, 0.9),
    k=5.0,
    weights={"a": 0.9, "b": 0.1},
    members={"a": 0.75, "b": 0.6},
    intervals={"a": (0.65, 0.85), "b": (0.5, 0.7)},
    equal_weights=0.79,
    equal_weights_interval=(0.69, 0.89),
    cross_validated=CrossValidation(fitted=0.70, shrunk=0.72, equal_weights=0.71, best_member=0.69),
    better_than_best_member=Difference(map=0.05, low=-0.01, high=0.1, above=0.9, p=0.2, units=40),
    leave_one_out={"a": 0.2, "b": -0.001},
    unit="video",
    units=40,
    shrink=0.0,
    seed=0,
    cutoff=100_000,
    mode="strict",
)


def test_weights_that_do_not_pay_elsewhere_are_called_so_with_what_to_type():
    text = REPORT.text("python -m scoring optimize --shrink 0.5")
    assert "The weights do not beat equal weights out of sample (0.7000, equal 0.7100)." in text
    assert "they score 0.7200 there: `python -m scoring optimize --shrink 0.5`" in text
    assert "minus its best member's is +0.0500, 95 % interval -0.0100 to +0.1000 over 40 videos (p 0.200)." in text
    assert "can be left out without loss on these judgments: b." in text
    fitted = replace(REPORT, cross_validated=CrossValidation(0.73, 0.72, 0.71, 0.69))
    assert "do not beat equal weights" not in fitted.text("")


def test_members_that_are_not_needed_are_named():
    text = replace(REPORT, weights={"a": 1.0, "b": 0.0}, leave_one_out={}).text("")
    assert "Not needed on these judgments, at a weight of 0: b." in text
    assert "at a weight of 0" not in REPORT.text("")


def test_an_ensemble_that_its_best_member_beats_elsewhere_is_called_so():
    beaten = replace(REPORT, cross_validated=CrossValidation(0.73, 0.72, 0.71, 0.74)).text("")
    assert "does not beat its best member out of sample (0.7300, the member 0.7400)" in beaten
    alone = replace(
        REPORT, weights={"a": 1.0}, members={"a": 0.75}, cross_validated=CrossValidation(0.7, 0.7, 0.7, 0.7)
    )
    assert "--shrink" not in alone.text("--shrink")


def test_every_map_has_its_interval():
    lines = REPORT.text("").splitlines()
    assert lines[1].split() == ["a", "0.7500", "0.6500", "to", "0.8500", "0.900", "+0.2000"]
    table = {line.partition("  ")[0]: line.split()[-5:] for line in lines}
    assert table["fused"] == ["0.8000", "0.7000", "to", "0.9000", "0.7000"]
    assert table["equal weights"] == ["0.7900", "0.6900", "to", "0.8900", "0.7100"]
    assert table["best member"] == ["0.7500", "0.6500", "to", "0.8500", "0.6900"]
    lacking = replace(REPORT, intervals={"a": (0.65, 0.85)})
    assert lacking.text("").splitlines()[2].split() == ["b", "0.6000", "-", "0.100", "-0.0010"]


@pytest.mark.parametrize("mode", ["strict", "google"])
@pytest.mark.frameworks
def test_measures_as_evaluating_the_lists_on_the_same_resamples(tmp_path, mode):
    rng = np.random.default_rng(0)
    ids = [f"v{number:02}:0" for number in range(40)]
    judgments = judgments_of({(c, s): int(rng.random() < 0.4) for c in (1, 2, 3) for s in ids})
    sources = {
        "long": submission_of({c: rng.permutation(ids) for c in (1, 2)}),
        "short": submission_of({c: rng.permutation(ids)[:25] for c in (2, 3)}),
        "elsewhere": submission_of({9: ids}),
    }
    settings, unfinished = SearchSettings(trials=7), tmp_path / "trials.jsonl"
    judged = Judgments(judgments)
    with search_and_measure(sources, judged, settings, unfinished=unfinished, cutoff=30, mode=mode) as outcome:
        report = outcome.report
    bootstrap = Bootstrap(judged)
    lists = {"equal": fuse(sources, None, MEMBER_K, 30), "fused": fuse(sources, report.weights, report.k, 30)} | sources
    lists = {name: ranked for name, ranked in lists.items() if mode == "strict" or name != "elsewhere"}
    measured = {name: bootstrap.measure(*ranks_of_blocks([ranked], judged, 30), mode) for name, ranked in lists.items()}
    assert report.interval == measured["fused"].interval
    assert (report.equal_weights, report.equal_weights_interval) == (measured["equal"].map, measured["equal"].interval)
    assert report.members == {name: measured[name].map if name in measured else 0.0 for name in sources}
    assert report.intervals == {name: measured[name].interval for name in sources if name in measured}
    assert report.better_than_best_member == measured["fused"].over(measured[report.best_member])


def test_shrunk_weights_are_judged_by_their_own_cross_validated_map():
    shrunk = replace(REPORT, shrink=0.5)
    assert shrunk.cross_validated_map == 0.72
    assert shrunk.doubt("") == []
    assert "Even so" in replace(shrunk, cross_validated=CrossValidation(0.7, 0.7, 0.71, 0.69)).doubt("")[0]
    equal = replace(REPORT, shrink=1.0)
    assert (equal.cross_validated_map, equal.doubt("")) == (0.71, [])
    assert replace(REPORT, cross_validated=None).doubt("") == []


def test_a_report_is_read_as_it_was_written(tmp_path):
    for report in (REPORT, replace(REPORT, cross_validated=None)):
        report.write(tmp_path / "report.json")
        assert read_report(tmp_path / "report.json") == report


@pytest.mark.frameworks
def test_halves_of_documents_are_halves_of_topics(tmp_path):
    lists = {"a": {1: ["x", "y"], 2: ["y", "x"]}, "b": {1: ["y", "x"], 2: ["x", "y"]}}
    judgments = judgments_of({(1, "x"): 1, (1, "y"): 0, (2, "x"): 1, (2, "y"): 0})
    sources = {name: submission_of(classes) for name, classes in lists.items()}
    unfinished = tmp_path / "trials.jsonl"
    with search_and_measure(sources, Judgments(judgments), SearchSettings(trials=1), unfinished=unfinished) as outcome:
        assert "half of the 2 classes" in outcome.report.text("")
        assert unfinished.exists()  # until the outcome is stored
    assert list(tmp_path.iterdir()) == []


@pytest.mark.frameworks
def test_trials_stay_until_the_outcome_is_stored(tmp_path):
    sources, unfinished = {"a": submission_of({1: ["x", "y"]})}, tmp_path / "trials.jsonl"
    judged, settings = Judgments(judgments_of({(1, "x"): 1, (1, "y"): 0})), SearchSettings(trials=1)
    with pytest.raises(OSError, match="disk"), search_and_measure(sources, judged, settings, unfinished=unfinished):
        raise OSError("the disk is full")
    assert [path.name for path in tmp_path.iterdir()] == ["trials.jsonl"]
