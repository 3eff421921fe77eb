"""The first page as Streamlit runs it."""

from pathlib import Path

import pytest
import streamlit as st

from dashboard import data
from tests.dashboard.seeding import ensemble_stage, member_stage
from tests.dashboard.test_pages import metrics, opened, words
from tracking.runs import find_runs
from tracking.writing import open_parent


def test_the_first_page_shows_the_ensemble_and_its_work(seeded: str) -> None:
    app = opened()
    assert [title.value for title in app.title] == ["Overview"]
    assert metrics(app) == {
        "MAP@100K, in sample (optimistic)": ("0.7204", "95 % interval 0.6958 to 0.7441"),
        "MAP@100K, cross-validated": ("0.7103", "chosen and scored on different videos"),
        "Gain over equal weights": ("+0.0139", "+0.0051"),
        "Gain over the best member": ("+0.0333", "+0.0258"),
    }
    assert "Stages: 5 waiting, 11 finished." in words(app)
    board = app.dataframe[0].value
    assert board["owner"].to_list() == ["bert-l2h12-mean", "boosted", "gated-netvlad", "ensemble"]


def test_a_running_stage_has_a_bar(seeded: str) -> None:
    with member_stage("boosted", "finetune", "synthetic", "demo").open() as run:
        run.run.params({"rounds": 200})
        run.run.metrics({"map": 0.5}, 50)
        run.run.flush()
        app = opened()
        assert "1 running" in words(app)
        (bar,) = app.get("progress")
        assert "round 50 of 200" in str(bar.proto)


def test_the_whole_page_is_drawn_again_only_if_a_stage_begins_or_ends(seeded: str) -> None:
    def read() -> data.StageStates:
        return data.stage_states(data.line_up("synthetic", "demo"))

    before = read()
    assert read() == before
    with member_stage("boosted", "finetune", "synthetic", "demo").open() as opened_stage:
        opened_stage.run.flush()
        running = read()
        opened_stage.run.metrics({"map": 0.5}, 50)
        opened_stage.run.flush()
        assert read() == running
    assert len({before, running, read()}) == 3


def test_a_failure_and_what_waits_are_shown_without_an_ensemble(seeded: str) -> None:
    app = opened(dataset="audioset")
    assert "failed in fine-tuning: the loss is not finite at step 17" in app.warning[0].value
    assert metrics(app)["Best member, MAP@100K on the holdout"] == ("0.6312", "gated-netvlad")
    assert metrics(app)["Ensemble"][0] == "–"
    assert "1 failed" in words(app)
    assert "python -m training run --lineup audioset" in words(app)


def test_stale_results_are_named(seeded: str) -> None:
    with ensemble_stage("optimize", "synthetic", "demo").open() as run:
        run.run.params({"infer_run/boosted": find_runs("synthetic", member="boosted", stage="infer")[0].run_id})
    app = opened()
    (warning,) = app.warning
    assert "**ensemble** optimize: does not include bert-l2h12-mean, gated-netvlad" in warning.value


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "**bold** [x](http://x) $y$ :smile:", "x" * 500])
def test_a_name_is_shown_to_the_letter(store: str, name: str) -> None:
    with open_parent("synthetic", name, {"kind": "member", "member": name, "lineup": name[:200], "dataset": "d"}):
        pass
    app = opened()
    for element in [*app.markdown, *app.caption]:
        assert name[:200] not in element.value or name.isalnum()
    assert app.dataframe[0].value["owner"].to_list() == [name, "ensemble"]


def test_a_store_that_is_damaged_meanwhile_is_an_error_in_a_sentence(seeded: str) -> None:
    opened()
    st.cache_data.clear()
    file = Path(seeded.removeprefix("sqlite:///"))
    file.write_bytes(b"no database at all" * 1000)
    app = opened()
    assert "cannot be read: file is not a database; check the file" in app.error[0].value
