import time
from datetime import timedelta
from types import SimpleNamespace

import polars as pl
import pytest

from dashboard import data, stages
from tests.dashboard.seeding import ensemble_stage, member_stage, seed_failure, seed_member
from tracking import metrics
from tracking.runs import find_run


def states(line_up: data.LineUp) -> dict[tuple[str, str], str]:
    rows = stages.board(line_up).select("owner", "stage", "state").rows()
    return {(owner, stage): state for owner, stage, state in rows}


def test_a_half_finished_line_up_shows_what_failed_and_what_waits(store: str) -> None:
    seed_failure()
    assert states(data.line_up("audioset", "audioset")) == {
        ("bert-l2h8-mean", "pretrain"): "finished",
        ("bert-l2h8-mean", "finetune"): "failed",
        ("bert-l2h8-mean", "infer holdout"): "waiting",
        ("gated-netvlad", "pretrain"): "finished",
        ("gated-netvlad", "finetune"): "finished",
        ("gated-netvlad", "infer holdout"): "finished",
        ("ensemble", "merge holdout"): "waiting",
        ("ensemble", "optimize"): "waiting",
        ("ensemble", "fuse holdout"): "waiting",
    }


def test_a_member_without_pretraining_does_not_wait_for_it_and_a_test_split_is_shown(seeded: str) -> None:
    by_stage = states(data.line_up("synthetic", "demo"))
    assert ("boosted", "pretrain") not in by_stage
    assert by_stage["boosted", "infer holdout"] == "finished"
    assert by_stage["boosted", "infer test"] == "waiting"  # the ensemble is fused on test
    assert by_stage["ensemble", "fuse test"] == "finished"


def test_a_member_that_predicts_by_anothers_weights_waits_for_no_training(store: str) -> None:
    with member_stage("shifted", "infer", "synthetic", "demo", "holdout").open():
        pass
    by_stage = states(data.line_up("synthetic", "demo"))
    assert {stage: state for (owner, stage), state in by_stage.items() if owner == "shifted"} == {
        "infer holdout": "finished"
    }


def test_what_builds_on_a_repeated_run_is_stale_down_to_the_ensemble(store: str) -> None:
    name = "boosted"
    with member_stage(name, "finetune", "synthetic", "demo").open() as first:
        pass
    with member_stage(name, "infer", "synthetic", "demo", "holdout").open() as inferred:
        inferred.run.params({"checkpoint_run": first.run.run_id})
    for stage, split in (("merge", "holdout"), ("optimize", "")):
        with ensemble_stage(stage, "synthetic", "demo", split).open() as opened:
            opened.run.params({f"infer_run/{name}": inferred.run.run_id})
    assert stages.stale(data.line_up("synthetic", "demo")) == {}

    with member_stage(name, "finetune", "synthetic", "demo").open():
        pass
    line_up = data.line_up("synthetic", "demo")
    rows = stages.board(line_up).filter(pl.col("state") == "stale").select("owner", "stage", "why").rows()
    assert rows == [
        ("boosted", "infer holdout", "builds on an earlier run of fine-tuning"),
        ("ensemble", "merge holdout", "builds on inference (holdout) of boosted, which is stale"),
        ("ensemble", "optimize", "builds on inference (holdout) of boosted, which is stale"),
    ]


def test_an_ensemble_without_a_member_that_was_predicted_since_is_stale(store: str) -> None:
    seed_member("boosted")
    inferred = find_run("synthetic", member="boosted", stage="infer")
    with ensemble_stage("optimize", "synthetic", "demo").open() as opened:
        opened.run.params({"infer_run/boosted": inferred.run_id})
    assert stages.stale(data.line_up("synthetic", "demo")) == {}
    seed_member("gated-netvlad")
    assert list(stages.stale(data.line_up("synthetic", "demo")).values()) == ["does not include gated-netvlad"]


def position(line_up: data.LineUp) -> stages.Position:
    (running,) = stages.running(line_up)
    return running


def test_a_running_stage_counts_its_own_steps_and_says_when_it_ends(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 3600, 10))
    ours = SimpleNamespace(time=lambda: 1_700_000_000.0 + next(clock), monotonic=time.monotonic)
    monkeypatch.setattr("tracking.writing.time", ours)  # other threads have theirs
    with member_stage("boosted", "finetune", "synthetic", "demo").open() as opened:
        opened.run.params({"steps": 1000, "evaluate_every": 200})
        opened.run.metrics({metrics.MAP: 0.4}, 5000)  # where pre-training ended
        for step in (5020, 5040, 5060):
            opened.run.metrics({metrics.LOSS: 0.5}, step)
        opened.run.flush()
        running = position(data.line_up("synthetic", "demo"))
        assert (running.done, running.total, running.share) == (60, 1000, 0.06)
        assert running.left == timedelta(seconds=470)  # 940 steps, 20 of them in 10 s
        assert stages.position_text(running, running.seen) == "fine-tuning: step 60 of 1,000, about 8 min left"
        board = stages.board(data.line_up("synthetic", "demo"))
        wide = stages.table(board, [running])
        assert wide.filter(pl.col("owner") == "boosted")["finetune"].to_list() == ["▶ running 6%"]


def test_a_search_counts_its_trials_and_a_stage_without_steps_says_when_it_was_last_seen(store: str) -> None:
    with ensemble_stage("optimize", "synthetic", "demo").open() as opened:
        opened.run.params({"trials": 40, "polish": 57, "members": "a, b, c"})
        for trial in range(10):
            opened.run.metrics({metrics.MAP: 0.5}, trial)
        opened.run.flush()
        running = position(data.line_up("synthetic", "demo"))
        assert (running.unit, running.done, running.total) == ("trial", 10, 100)
    with ensemble_stage("merge", "synthetic", "demo", "holdout").open():
        running = position(data.line_up("synthetic", "demo"))
        assert (running.done, running.share, running.left) == (None, None, None)
        text = stages.position_text(running, running.seen + timedelta(minutes=7))
        assert text == "merging shifts (holdout): last sign of life 7 min ago"


@pytest.mark.parametrize(
    ("seconds", "words"), [(4, "4 s"), (600, "10 min"), (2 * 3600, "2.0 h"), (3 * 86400, "3.0 days"), (-5, "0 s")]
)
def test_durations_are_in_the_unit_that_fits(seconds: int, words: str) -> None:
    assert stages.duration(timedelta(seconds=seconds)) == words
