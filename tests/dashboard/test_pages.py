"""The pages as Streamlit runs them, without a browser."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from streamlit.testing.v1 import AppTest

from tests.dashboard.seeding import seed_ensemble, seed_member
from tracking import runs
from tracking.runs import find_runs
from tracking.store import client

APP = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"


def opened(page: str = "", **address: str) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=60)
    for name, value in address.items():
        app.query_params[name] = value
    if page:
        app.switch_page(f"views/{page}.py")
    app.run()
    assert not app.exception
    return app


def metrics(app: AppTest) -> Mapping[str, tuple[str, str]]:
    return {metric.label: (metric.value, metric.delta) for metric in app.metric}


def address(app: AppTest) -> dict[str, str]:
    return {name: value if isinstance(value, str) else value[0] for name, value in app.query_params.items()}


def words(app: AppTest) -> str:
    return " ".join(element.value for element in [*app.markdown, *app.caption, *app.info, *app.warning, *app.code])


def test_an_empty_store_says_what_to_type(store: str) -> None:
    app = opened()
    assert [title.value for title in app.title] == ["Nothing has run yet"]
    assert "make demo" in words(app)
    assert "python -m training run --lineup paper" in words(app)
    assert not app.metric


@pytest.mark.parametrize("uri", ["mlruns", "file:///data/mlruns", "ftp://example.org/mlruns"])
def test_a_store_that_does_not_answer_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    app = opened()
    assert "sqlite:///" in app.error[0].value


def test_members_show_their_scores(seeded: str) -> None:
    app = opened("members")
    assert [title.value for title in app.title] == ["Members"]
    assert metrics(app) == {
        "Best member": ("0.6871", "bert-l2h12-mean"),
        "Fine-tuning adds": ("+0.0897", "mean of 2 members"),
        "Shifts add": ("+0.0143", "mean of 2 members"),
        "Ensemble": ("0.7204", "+0.0333"),
    }
    board = app.dataframe[0].value
    assert board["member"].to_list() == ["bert-l2h12-mean", "boosted", "gated-netvlad"]
    assert board["weight"].to_list() == pytest.approx([47.0, 35.0, 18.0])  # percent
    assert app.dataframe[1].value["merged"].to_list() == [0.6871, 0.6510, 0.6312]
    assert not app.warning


def test_the_ensemble_shows_both_figures_and_says_which_to_believe(seeded: str) -> None:
    app = opened("ensemble")
    assert metrics(app) == {
        "MAP@100K, in sample (optimistic)": ("0.7204", "95 % interval 0.6958 to 0.7441"),
        "MAP@100K, cross-validated": ("0.7103", "chosen and scored on different videos"),
        "Gain over equal weights": ("+0.0139", "+0.0051"),
        "Gain over the best member": ("+0.0333", "+0.0258"),
    }
    assert "**0.7204 is optimistic:**" in words(app)
    assert "**0.7103** comes from weights chosen on half of the holdout's videos" in words(app)
    assert "Equal weights score 0.7052 there." in words(app)
    assert "57 trials, numbered from 3 after the members alone; the best was number 41 with 0.7204" in words(app)
    assert "95 % interval of the gain +0.0112 to +0.0541, they are told apart" in words(app)
    assert "no better" not in words(app)


def test_weights_that_do_not_pay_on_new_videos_are_called_so(store: str) -> None:
    seed_member("boosted")
    seed_ensemble(cross_validated=0.7001)
    app = opened("ensemble")
    assert "Weights **half-way** between the chosen and equal ones score 0.7066 there" in words(app)
    assert "python -m training run --lineup demo --data DIR --shrink 0.5" in words(app)
    assert "so the chosen weights are **no better**: equal weights are safer." in words(app)
    assert metrics(app)["Gain over equal weights"] == ("+0.0139", "-0.0051")


def test_a_failed_member_is_visible_and_not_fatal(seeded: str) -> None:
    app = opened("members", dataset="audioset")
    assert app.selectbox(key="lineup").value == "audioset"
    assert "**bert-l2h8-mean** failed in fine-tuning: the loss is not finite at step 17" in app.warning[0].value
    assert "/runs/" in app.warning[0].value
    assert app.dataframe[0].value["member"].to_list() == ["gated-netvlad", "bert-l2h8-mean"]
    assert metrics(app)["Ensemble"] == ("–", "")


def test_an_error_is_shown_to_the_letter(seeded: str) -> None:
    run = find_runs("audioset", finished=False, member="bert-l2h8-mean", stage="finetune")[0]
    client().set_tag(run.run_id, "error", "ValueError: weights[0] of *all* is $nan$.\nmore lines")
    app = opened("members", dataset="audioset")
    assert r"fine-tuning: weights\[0\] of \*all\* is \$nan\$. [Open" in app.warning[0].value


def test_a_line_up_without_an_ensemble_says_how_to_make_it(seeded: str) -> None:
    app = opened("ensemble", dataset="audioset")
    assert "have not been fused yet" in words(app)
    assert "python -m training run --lineup audioset" in words(app)
    assert not app.metric


def test_choosing_another_dataset_changes_the_page_and_the_address(seeded: str) -> None:
    app = opened("members")
    assert address(app) == {"dataset": "synthetic", "lineup": "demo"}
    app.selectbox(key="dataset").select("audioset").run()
    assert metrics(app)["Best member"] == ("0.6312", "gated-netvlad")
    assert address(app) == {"dataset": "audioset", "lineup": "audioset"}


def test_an_address_that_names_nothing_shows_the_newest(seeded: str) -> None:
    app = opened("members", dataset="nowhere", lineup="none")
    assert app.selectbox(key="dataset").value == "synthetic"
    assert metrics(app)["Best member"] == ("0.6871", "bert-l2h12-mean")


def test_provenance_stands_on_both_pages(seeded: str) -> None:
    for page in ("", "members", "ensemble"):
        app = opened(page)
        assert app.expander[-1].label == "Where these numbers come from"
        assert app.dataframe[-1].value["data"].to_list() == ["5d41402abc4b"] * 4


class Asked(dict[str, float]):
    """Metrics of a run that note by which names they are asked for."""

    names: ClassVar[set[str]] = set()

    def get(self, key: str, default: float | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.names.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> float:
        self.names.add(key)
        return super().__getitem__(key)


def test_the_dashboard_reads_no_metric_that_nobody_logs(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that do not pay are shown with more figures than others, so every figure is asked for here."""
    seed_member("gated-netvlad")
    seed_ensemble(cross_validated=0.7001)
    logged = {name for run in find_runs() for name in run.metrics}
    record = runs._record
    monkeypatch.setattr(Asked, "names", set())
    monkeypatch.setattr(runs, "_record", lambda row: replace(record(row), metrics=Asked(record(row).metrics)))
    for page in ("", "members", "member", "ensemble"):
        opened(page)
    assert len(Asked.names) > 10
    assert Asked.names - logged == set()
