import contextlib
import json
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest

from scoring.__main__ import start
from scoring.fusion.fusion import fuse, merge_shifts
from scoring.lists.opening import open_submissions, read_submission
from scoring.lists.ranking import rank_scores
from scoring.lists.top_lists import read_top
from scoring.lists.writing import write_submission
from scoring.measures.average_precision import mean_average_precision
from scoring.tracked import stages
from scoring.weights.cross_validation import halvings
from scoring.weights.judged_pairs import objective_of
from scoring.weights.objective import Objective
from scoring.weights.settings import SearchSettings
from scoring.weights.weights_json import Weights, read_weights
from tests.scoring.generated import judgments_of
from tracking import runs
from tracking.store import client
from tracking.writing import open_parent, open_run
from videos.judgments import Judgments

EXPERIMENT, LINEUP = "tiny", "demo"
SPLITS = ("holdout", "test")
STRENGTHS = {"bert.v2": 1.0, "netvlad": 0.7, "boosted": 0.2}
SHIFTS = {"bert.v2": (-1, 0, 1), "netvlad": (0, 1), "boosted": (0,)}
CLASSES = [3, 7]


def infer(tmp_path, split: str, data: str = "data-1"):
    """A finished infer run of each member on 30 videos; the judgments of the split."""
    rng = np.random.default_rng(sum(map(ord, split)))
    segments = pl.Series("segment_id", [f"{split}{i:02}:{5 * j}" for i in range(30) for j in range(2)]).sort()
    truth = rng.normal(size=(len(segments), len(CLASSES)))
    for member, strength in STRENGTHS.items():
        tags = {runs.DATASET: EXPERIMENT, runs.LINEUP: LINEUP, runs.MEMBER: member, runs.FRAMEWORK: "torch"}
        with open_parent(EXPERIMENT, member, {**tags, runs.KIND: "member"}) as parent:
            child = {runs.STAGE: "infer", runs.SPLIT: split, runs.DATA_DIGEST: data}
            with open_run(EXPERIMENT, f"infer {split}", child, parent=parent.run_id) as run:
                folder = tmp_path / f"{member}-{split}" / "predictions"
                folder.mkdir(parents=True, exist_ok=True)
                for shift in SHIFTS[member]:
                    scores = (strength * truth + 0.5 * rng.normal(size=truth.shape)).astype(np.float32)
                    predictions = rank_scores(scores, CLASSES, segments)
                    write_submission(predictions, folder.with_name("one"))
                    (folder.with_name("one") / "lists.parquet").rename(folder / f"shift{shift}.parquet")
                    (folder.with_name("one") / "segments.parquet").rename(folder / "segments.parquet")
                run.artifact(folder, "predictions")
    relevance = {
        (class_id, segment): int(truth[row, column] > 0.7)
        for column, class_id in enumerate(CLASSES)
        for row, segment in enumerate(segments)
    }
    return Judgments(judgments_of(relevance))


@pytest.mark.frameworks
def test_a_line_up_is_merged_searched_and_fused(store, tmp_path):
    judgments = infer(tmp_path, "holdout")
    elsewhere = judgments_of({(3, "finetune00:0"): 1, (99, "finetune01:0"): 1})
    everything = Judgments(pl.concat([judgments.pairs, elsewhere]))
    infer(tmp_path, "test")
    members = stages.predicted_members(EXPERIMENT, LINEUP, split="holdout")
    assert members == sorted(STRENGTHS)

    places = stages.merge_members(EXPERIMENT, LINEUP, split="holdout", members=members)
    merged = open_submissions(list(places.values()))
    predictions = runs.find_run(EXPERIMENT, member="netvlad", stage="infer", split="holdout").artifact("predictions")
    expected = merge_shifts([read_submission(predictions / f"shift{shift}.parquet") for shift in (0, 1)])
    assert merged["netvlad"].read(CLASSES).lists.equals(expected.lists)

    optimized = stages.optimize_members(
        EXPERIMENT, LINEUP, members=members, judgments=everything, search=SearchSettings(trials=6)
    )
    assert optimized == runs.find_run(EXPERIMENT, lineup=LINEUP, stage="optimize")
    weights = read_weights(optimized.artifact("weights.json"))
    content = json.loads(optimized.artifact("weights.json").read_text())
    assert set(content) == {"k", "weights", "objective", "interval", "runs"}
    assert content["runs"] == {member: optimized.params[f"infer_run/{member}"] for member in members}
    trials = pl.read_parquet(optimized.artifact("trials.parquet"))
    history = client().get_metric_history(optimized.run_id, "best_map")
    assert [point.value for point in history] == trials["best"].to_list()
    assert optimized.artifact("search.png").stat().st_size > 10_000
    assert optimized.artifact("sensitivity.png").stat().st_size > 10_000
    assert not list((tmp_path / "mlruns" / "searches").iterdir())  # the search has ended: nothing to go on with
    assert optimized.metrics["weight/netvlad"] == weights.weights["netvlad"]
    for member in members:
        parent = runs.find_run(EXPERIMENT, member=member, kind="member")
        alone = mean_average_precision(merged[member].read(CLASSES), judgments.pairs).map
        assert parent.metrics["merged/map"] == alone

    fused = stages.fuse_members(EXPERIMENT, LINEUP, split="holdout", members=members, judgments=everything)
    submission = read_submission(fused.artifact("lists.parquet"))
    whole = {member: merged[member].read(CLASSES) for member in members}
    assert submission.lists.equals(fuse(whole, weights.weights, weights.k).lists)
    assert read_submission(fused.artifact("submission.csv")).long().equals(submission.long())
    ensemble = runs.find_run(EXPERIMENT, lineup=LINEUP, kind="ensemble")
    assert ensemble.name == "ensemble demo"
    assert fused.parent == optimized.parent == ensemble.run_id
    measured = ensemble.metrics
    assert weights.objective is not None
    assert measured["ensemble/map"] == mean_average_precision(submission, judgments.pairs).map == weights.objective.map
    assert (measured["ensemble/low"], measured["ensemble/high"]) == weights.interval
    assert measured["ensemble/low"] < measured["ensemble/map"] < measured["ensemble/high"]
    assert measured["all equal/map"] == weights.objective.equal_weights <= measured["ensemble/map"]
    assert measured["best one/map"] == weights.objective.best_member <= measured["ensemble/map"]
    for name in ("all equal", "best one"):
        assert measured[f"{name}/low"] < measured[f"{name}/map"] < measured[f"{name}/high"]
    report = stages.report_of(optimized)
    for name, interval in {"all equal": report.equal_weights_interval, **report.intervals}.items():
        assert (optimized.metrics[f"{name}/low"], optimized.metrics[f"{name}/high"]) == interval
    assert 0 < measured["ensemble/cv"] < 1
    gain = measured["ensemble/map"] - measured["best one/map"]
    assert measured["ensemble/gain"] == pytest.approx(gain)
    assert measured["ensemble/gain_low"] < gain < measured["ensemble/gain_high"]
    assert {f"leave_one_out/{member}" for member in members if weights.weights[member]} <= set(measured)
    assert sum(measured[f"weight/{member}"] for member in members) == pytest.approx(1)
    assert measured["k"] == weights.k
    assert fused.metrics.items() >= {"ensemble/map": measured["ensemble/map"]}.items()

    # What the dashboard reads instead of the lists.
    for record in (optimized, fused):
        pairs = pl.read_parquet(record.artifact("judged_pairs.parquet"))
        assert objective_of(pairs).map(weights.weights, weights.k) == weights.objective.map
        assert pairs["rank"].to_list() == [
            submission.find({class_id: pl.Series([segment])})[class_id][0]
            for class_id, segment in pairs.select("class_id", "segment_id").iter_rows()
        ]
        assert pl.read_parquet(record.artifact("similarity.parquet"))["classes"].to_list() == [len(CLASSES)] * 6
    top = read_top(runs.find_run(EXPERIMENT, stage="merge", split="holdout").artifact("top.parquet").parent, 7)
    for member in members:
        first = top.filter(member=member)["segment_id"].to_list()
        assert first == merged[member].read([7]).long()["segment_id"].to_list()[:1000]

    tested = stages.fuse_members(EXPERIMENT, LINEUP, split="test", members=members)
    assert read_submission(tested.artifact("submission.csv")).classes == CLASSES
    assert "ensemble/map" not in tested.metrics

    # Nothing is done twice, and whatever is forced is done again.
    before = {run.run_id for run in runs.find_runs(EXPERIMENT)}
    stages.merge_members(EXPERIMENT, LINEUP, split="holdout", members=members)
    assert (
        stages.optimize_members(
            EXPERIMENT, LINEUP, members=members, judgments=everything, search=SearchSettings(trials=6)
        )
        == optimized
    )
    assert (
        stages.fuse_members(EXPERIMENT, LINEUP, split="holdout", members=members, judgments=everything).run_id
        == fused.run_id
    )
    assert stages.fuse_members(EXPERIMENT, LINEUP, split="test", members=members).run_id == tested.run_id
    assert {run.run_id for run in runs.find_runs(EXPERIMENT)} == before
    assert stages.fuse_members(EXPERIMENT, LINEUP, split="test", members=members, force=True).run_id not in before


def test_what_is_missing_is_named(store, tmp_path):
    with pytest.raises(ValueError, match="no member of the line-up demo has predicted the holdout split of tiny"):
        stages.predicted_members(EXPERIMENT, LINEUP, split="holdout")
    with pytest.raises(ValueError, match="no finished infer run for bert"):
        stages.merge_members(EXPERIMENT, LINEUP, split="holdout", members=["bert"])
    judgments = infer(tmp_path, "holdout")
    with pytest.raises(ValueError, match="no finished optimize run"):
        stages.fuse_members(EXPERIMENT, LINEUP, split="holdout", members=["netvlad"], judgments=judgments)
    with pytest.raises(ValueError, match="no judged segment was predicted"):
        stages.optimize_members(
            EXPERIMENT, LINEUP, members=["netvlad"], judgments=Judgments(judgments_of({(3, "elsewhere:0"): 1}))
        )
    with pytest.raises(ValueError, match="no members"):
        stages.merge_members(EXPERIMENT, LINEUP, split="holdout", members=[])


def test_a_shift_whose_file_is_gone_is_not_left_out_of_the_merge(store, tmp_path):
    infer(tmp_path, "holdout")
    record = runs.find_run(EXPERIMENT, member="netvlad", stage="infer")
    client().log_param(record.run_id, "shifts", "[0, 1]")
    (record.artifact("predictions") / "shift1.parquet").unlink()
    remedy = "make it again: `python -m training infer netvlad --lineup demo --data DIR --split holdout --force`"
    with pytest.raises(ValueError, match=rf"has no shift1\.parquet; {remedy}"):
        stages.merge_members(EXPERIMENT, LINEUP, split="holdout", members=["netvlad"])


@pytest.fixture
def scoring(monkeypatch, capsys):
    """Runs a command line in this process; returns what it printed and what it complained of."""

    def call(*args: str) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["scoring", *args])
        with contextlib.suppress(SystemExit):
            start()
        printed = capsys.readouterr()
        return printed.out, printed.err

    return call


@pytest.mark.frameworks
def test_each_stage_is_a_command_of_its_own(store, tmp_path, scoring):
    judgments = infer(tmp_path, "holdout")
    judgments.pairs.write_parquet(tmp_path / "judgments.parquet")

    line = ["--experiment", EXPERIMENT, "--lineup", LINEUP, "--member", "netvlad", "--member", "boosted"]
    rated = ["--judgments", str(tmp_path / "judgments.parquet")]
    scoring("tracked", "merge", *line, "--split", "holdout")
    assert runs.find_run(EXPERIMENT, stage="merge").params["members"] == "boosted, netvlad"
    scoring("tracked", "optimize", *line, *rated, "--trials", "2", "--out", str(tmp_path / "weights.json"))
    assert read_weights(tmp_path / "weights.json").weights.keys() == {"boosted", "netvlad"}
    scoring("tracked", "fuse", *line, *rated, "--split", "holdout")
    assert "ensemble/map" in runs.find_run(EXPERIMENT, kind="ensemble").metrics


@pytest.mark.frameworks
def test_tracked_runs_say_as_much_as_files(store, tmp_path, scoring):
    judgments = infer(tmp_path, "holdout")
    judgments.pairs.write_parquet(tmp_path / "judgments.parquet")
    line = ["--experiment", EXPERIMENT, "--lineup", LINEUP]
    search = ["tracked", "optimize", *line, "--judgments", str(tmp_path / "judgments.parquet"), "--trials", "2"]
    out, _ = scoring(*search, "--out", str(tmp_path / "weights.json"))
    report = json.loads(scoring(*search, "--json")[0])  # the finished run, not a second search
    assert len(runs.find_runs(EXPERIMENT, stage="optimize")) == 1
    assert read_weights(tmp_path / "weights.json").weights == report["weights"]
    assert pl.read_parquet(tmp_path / "weights.trials.parquet").height == report["trials"]
    for said in (
        "cross-validated",
        "MAP lost without it",
        "bootstrap resamples of ",
        "the ensemble's MAP minus its best member's"
        if report["units"] >= 10
        else "whether the ensemble beats its best",
    ):
        assert said in out

    fuse = ["tracked", "fuse", *line, "--split", "holdout", "--judgments", str(tmp_path / "judgments.parquet")]
    fused, _ = scoring(*fuse, "--weights", str(tmp_path / "weights.json"), "--out", str(tmp_path / "fused.csv"))
    run = runs.find_run(EXPERIMENT, stage="fuse")
    assert run.metrics["ensemble/map"] == report["map"]
    assert run.metrics["ensemble/cv"] == report["cross_validated"]["fitted"]
    assert (tmp_path / "fused.csv").read_bytes() == run.artifact("submission.csv").read_bytes()
    assert fused.splitlines()[:12] == out.splitlines()[:12]

    # Processes give the same bytes; another constant is another fusion.
    before = run.artifact("lists.parquet").read_bytes()
    scoring("tracked", "merge", *line, "--split", "holdout", "--force", "--jobs", "2")
    scoring(*fuse, "--weights", str(tmp_path / "weights.json"), "--jobs", "2", "--force")
    again = runs.find_run(EXPERIMENT, stage="fuse")
    assert again.run_id != run.run_id
    assert again.artifact("lists.parquet").read_bytes() == before
    merged = [record.artifact("netvlad/lists.parquet") for record in runs.find_runs(EXPERIMENT, stage="merge")]
    assert len(merged) == 2
    assert merged[0].read_bytes() == merged[1].read_bytes()
    scoring(*fuse, "--k-constant", "900")
    assert runs.find_run(EXPERIMENT, stage="fuse").metrics["k"] == 900


@pytest.mark.frameworks
def test_shrunk_weights_are_another_search_and_have_their_own_score(store, tmp_path, scoring):
    judgments = infer(tmp_path, "holdout")
    members = ["boosted", "netvlad"]
    searched = stages.optimize_members(
        EXPERIMENT, LINEUP, members=members, judgments=judgments, search=SearchSettings(trials=3)
    )
    shrunk = stages.optimize_members(
        EXPERIMENT, LINEUP, members=members, judgments=judgments, search=SearchSettings(trials=3, shrink=0.5)
    )
    assert shrunk.run_id != searched.run_id
    whole, half = (read_weights(run.artifact("weights.json")).weights for run in (searched, shrunk))
    assert half == {member: pytest.approx(0.5 * weight + 0.25) for member, weight in whole.items()}
    fused = stages.fuse_members(EXPERIMENT, LINEUP, split="holdout", members=members, judgments=judgments)
    assert fused.params["optimize_run"] == shrunk.run_id
    validated = stages.report_of(fused).cross_validated
    assert validated is not None
    assert fused.metrics["ensemble/cv"] == validated.shrunk


@pytest.mark.frameworks
def test_what_the_search_measured_is_not_measured_again(store, tmp_path, monkeypatch, caplog):
    judgments, members = infer(tmp_path, "holdout"), ["boosted", "netvlad"]
    line = {"split": "holdout", "members": members, "judgments": judgments}
    settings = SearchSettings(trials=2, seed=1, shrink=0.5)
    search = stages.optimize_members(EXPERIMENT, LINEUP, members=members, judgments=judgments, search=settings)
    measured = stages.fuse_members(EXPERIMENT, LINEUP, **line, k=900.0)
    assert stages.report_of(measured) != stages.report_of(search)
    with monkeypatch.context() as patch:
        patch.setattr(stages, "measure", None)
        patch.setattr(stages, "Objective", None)
        fused = stages.fuse_members(EXPERIMENT, LINEUP, **line)
    report = stages.report_of(fused)
    assert report == stages.report_of(search)
    assert fused.metrics["ensemble/shrinkage"] == 0.5
    for name in ("report.json", "per_class.parquet"):
        assert fused.artifact(name).read_bytes() == search.artifact(name).read_bytes()
    # The same as measuring.
    monkeypatch.setattr(stages, "_search_of", lambda *_: None)
    assert stages.report_of(stages.fuse_members(EXPERIMENT, LINEUP, **line, force=True)) == report


@pytest.mark.frameworks
def test_given_weights_are_cross_validated_as_they_are(store, tmp_path, scoring):
    judgments, members = infer(tmp_path, "holdout"), ["boosted", "netvlad"]
    judgments.pairs.write_parquet(tmp_path / "judgments.parquet")
    search = SearchSettings(trials=2, shrink=0.5)
    stages.optimize_members(EXPERIMENT, LINEUP, members=members, judgments=judgments, search=search)
    merged = stages.merge_members(EXPERIMENT, LINEUP, split="holdout", members=members)
    objective = Objective.of(open_submissions(list(merged.values())), judgments)
    (tmp_path / "typed.json").write_text('{"k": 5, "weights": {"netvlad": 0, "boosted": 1}}')
    fuse = ["tracked", "fuse", "--experiment", EXPERIMENT, "--lineup", LINEUP, "--split", "holdout"]
    fuse += ["--member", "netvlad", "--member", "boosted", "--judgments", str(tmp_path / "judgments.parquet")]
    for flags in (
        ["--weights", "boosted=1,netvlad=0", "--k-constant", "5"],
        ["--weights", str(tmp_path / "typed.json")],
        ["--k-constant", "900"],
    ):
        out, err = scoring(*fuse, *flags)
        assert "The weights were given." in out, err
        record = runs.find_run(EXPERIMENT, stage="fuse")
        report = stages.report_of(record)
        assert (report.given, report.shrink, record.metrics["ensemble/shrinkage"]) == (True, 0.0, 0.0)
        halves = [half for pair in halvings(objective, 5, 0) for half in pair]
        as_they_are = np.mean([half.map(report.weights, report.k) for half in halves])
        assert record.metrics["ensemble/cv"] == pytest.approx(as_they_are)
    assert "which member each number belongs to; write netvlad=W,boosted=W" in scoring(*fuse, "--weights", "1,0")[1]


@pytest.mark.frameworks
def test_what_is_merged_by_score_is_searched_and_fused_by_score(store, tmp_path, scoring):
    judgments = infer(tmp_path, "holdout")
    judgments.pairs.write_parquet(tmp_path / "judgments.parquet")
    line = ["--experiment", EXPERIMENT, "--lineup", LINEUP, "--member", "netvlad", "--member", "boosted"]
    out, _ = scoring("tracked", "merge", *line, "--by", "score")
    assert "netvlad: " in out
    scoring(
        "tracked",
        "optimize",
        *line,
        "--judgments",
        str(tmp_path / "judgments.parquet"),
        "--trials",
        "1",
        "--by",
        "score",
    )
    assert [run.params["by"] for run in runs.find_runs(EXPERIMENT, stage="merge")] == ["score"]
    assert "merged by score, not by rank" in scoring("tracked", "fuse", *line, "--split", "holdout")[1]
    scoring("tracked", "fuse", *line, "--split", "holdout", "--by", "score")
    assert runs.find_run(EXPERIMENT, stage="fuse").params["optimize_run"]
    assert len(runs.find_runs(EXPERIMENT, stage="merge")) == 1


@pytest.mark.parametrize("command", ["merge", "optimize", "fuse"])
def test_the_old_spelling_is_answered_with_the_new_one(scoring, command):
    for flags in (["--experiment", "a b", "--lineup=demo"], ["--lineup", "demo"]):
        out, err = scoring(command, *flags)
        new = shlex.join(["python", "-m", "scoring", "tracked", command, *flags])
        assert (out, err) == ("", f"error: {command} takes files; for tracked runs type `{new}`\n")


@pytest.mark.frameworks
def test_an_earlier_configuration_is_fused_by_its_runs(store, tmp_path, caplog):
    judgments = infer(tmp_path / "then", "holdout")

    def inferred():
        return {m: runs.find_run(EXPERIMENT, member=m, stage="infer").run_id for m in ("netvlad", "boosted")}

    then = inferred()
    first = stages.optimize_members(
        EXPERIMENT, LINEUP, members=then, judgments=judgments, search=SearchSettings(trials=1)
    )
    infer(tmp_path / "now", "holdout")
    now = inferred()
    second = stages.optimize_members(
        EXPERIMENT, LINEUP, members=list(now), judgments=judgments, search=SearchSettings(trials=1)
    )
    assert first.params["infer_run/netvlad"] == then["netvlad"] != second.params["infer_run/netvlad"]

    caplog.clear()
    with caplog.at_level("INFO"):
        fused = stages.fuse_members(
            EXPERIMENT, LINEUP, split="holdout", members=then, judgments=judgments, optimized=first.run_id
        )
    assert "done already" not in caplog.text
    assert fused.params.items() >= {"optimize_run": first.run_id, "infer_run/netvlad": then["netvlad"]}.items()
    assert (
        stages.fuse_members(EXPERIMENT, LINEUP, split="holdout", members=list(now), judgments=judgments).params[
            "optimize_run"
        ]
        == second.run_id
    )
    with pytest.raises(ValueError, match="no finished infer run of boosted on the holdout split"):
        stages.merge_members(EXPERIMENT, LINEUP, split="holdout", members={"boosted": then["netvlad"]})


def test_members_of_different_data_are_not_mixed(store, tmp_path):
    infer(tmp_path, "holdout")
    tags = {runs.DATASET: EXPERIMENT, runs.LINEUP: LINEUP, runs.MEMBER: "netvlad", runs.STAGE: "infer"}
    with open_run(EXPERIMENT, "infer", {**tags, runs.SPLIT: "holdout", runs.DATA_DIGEST: "data-2"}):
        pass
    with pytest.raises(ValueError, match="different data"):
        stages.merge_members(EXPERIMENT, LINEUP, split="holdout", members=["netvlad", "boosted"])


@pytest.mark.frameworks
def test_each_stage_of_an_ensemble_started_twice_at_once_is_one_run(store, tmp_path):
    judgments = infer(tmp_path, "holdout")
    common = {"experiment": EXPERIMENT, "lineup": LINEUP, "members": sorted(STRENGTHS)}
    search = SearchSettings(trials=1, polish=0)
    for work in (
        lambda: stages.merge_members(**common, split="holdout"),
        lambda: stages.optimize_members(**common, judgments=judgments, search=search).run_id,
        lambda: stages.fuse_members(**common, split="holdout").run_id,
    ):
        with ThreadPoolExecutor(2) as pool:
            first, second = (future.result() for future in [pool.submit(work) for _ in range(2)])
        assert first == second
    found = [run.tags["stage"] for run in runs.find_runs(EXPERIMENT, finished=False) if run.parent]
    assert sorted(found) == ["fuse", "infer", "infer", "infer", "merge", "optimize"]


def test_weights_found_with_one_checkpoint_are_not_applied_to_predictions_of_another(store, tmp_path):
    infer(tmp_path, "holdout")
    infer(tmp_path, "test")
    found = {split: runs.find_run(EXPERIMENT, stage="infer", member="netvlad", split=split) for split in SPLITS}
    for split, checkpoint in zip(SPLITS, ("a" * 32, "b" * 32), strict=True):
        client().log_param(found[split].run_id, "checkpoint_run", checkpoint)
    with open_run(EXPERIMENT, "optimize", {"stage": "optimize", "lineup": LINEUP}) as run:
        run.params({"infer_run/netvlad": found["holdout"].run_id})
        (tmp_path / "weights.json").write_text('{"k": 5.0, "weights": {"netvlad": 1.0}}')
        run.artifact(tmp_path / "weights.json")
    with pytest.raises(ValueError, match=f"checkpoint of netvlad's run {'a' * 32}, but its test split was predicted"):
        stages.fuse_members(EXPERIMENT, LINEUP, split="test", members=["netvlad"])
    client().log_param(runs.find_run(EXPERIMENT, stage="optimize").run_id, "by", "rank")
    stages.fuse_members(EXPERIMENT, LINEUP, split="holdout", members=["netvlad"])


@pytest.mark.frameworks
def test_a_member_whose_run_was_deleted_does_not_end_a_search(store, tmp_path, caplog):
    judgments = infer(tmp_path, "holdout")
    parent = runs.find_run(EXPERIMENT, kind="member", member="netvlad").run_id
    client().delete_run(parent)
    stages.optimize_members(
        EXPERIMENT,
        LINEUP,
        members=["netvlad"],
        judgments=judgments,
        search=SearchSettings(trials=1, polish=0),
    )
    assert f"bring it back with `MLFLOW_TRACKING_URI={store} mlflow runs restore --run-id {parent}`" in caplog.text


@pytest.mark.frameworks
def test_an_ensemble_is_saved_under_a_name_of_its_own(store, tmp_path):
    judgments = infer(tmp_path, "holdout")
    infer(tmp_path, "test")
    members = sorted(STRENGTHS)
    searched = stages.optimize_members(
        EXPERIMENT, LINEUP, members=members, judgments=judgments, search=SearchSettings(trials=1)
    )
    stages.fuse_members(EXPERIMENT, LINEUP, split="holdout", members=members, judgments=judgments)
    own = runs.find_run(EXPERIMENT, lineup=LINEUP, kind="ensemble")
    merges = len(runs.find_runs(EXPERIMENT, stage="merge"))

    weights = Weights(7.0, {"bert.v2": 0.75, "boosted": 0.0, "netvlad": 0.25})
    named = stages.Named(name="two of three", author="Ann", reason="boosted adds nothing")
    holdout, test = stages.save_ensemble(EXPERIMENT, LINEUP, named=named, weights=weights, optimized=searched.run_id)
    parent = runs.find_run(EXPERIMENT, kind="named")
    assert {holdout.parent, test.parent} == {parent.run_id}
    assert parent.tags.items() >= {"ensemble": "two of three", "author": "Ann", "reason": named.reason}.items()
    assert (parent.metrics["weight/boosted"], parent.metrics["k"]) == (0.0, 7.0)
    table = pl.read_parquet(searched.artifact("judged_pairs.parquet"))
    assert parent.metrics["ensemble/map"] == objective_of(table).map(weights.weights, 7.0)
    assert read_submission(test.artifact("submission.csv")).classes == CLASSES
    assert test.tags["ensemble"] == "two of three"
    assert len(runs.find_runs(EXPERIMENT, stage="merge")) == merges + 1  # the test split's alone

    assert runs.find_run(EXPERIMENT, lineup=LINEUP, kind="ensemble").metrics == own.metrics  # the line-up's own
    with pytest.raises(ValueError, match="choose another name"):
        stages.save_ensemble(EXPERIMENT, LINEUP, named=named, weights=weights, optimized=searched.run_id)
    with pytest.raises(ValueError, match="the reason is empty"):
        stages.Named(name="a", author="b", reason=" ")
    with pytest.raises(ValueError, match="at most 100"):
        stages.Named(name="a" * 101, author="b", reason="c")
