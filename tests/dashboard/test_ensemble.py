"""The page Ensemble, as Streamlit runs it, and its tables."""

import polars as pl
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard import ensemble_tables
from scoring.paper import MEMBERS, published_weights
from scoring.tracked import stages
from scoring.weights.settings import SearchSettings
from scoring.weights.weights_json import read_weights
from tests.dashboard.searched import EXPERIMENT, LINEUP
from tests.dashboard.test_pages import address, opened, words
from tracking.runs import find_run
from videos.judgments import Judgments

PAGE = {"dataset": EXPERIMENT, "lineup": LINEUP}


def titles(app: AppTest) -> list[str]:
    """The titles of the Altair charts of a page."""
    import json

    charts = [chart for kind in ("vega_lite_chart", "arrow_vega_lite_chart") for chart in app.get(kind)]
    specs = [json.loads(chart.proto.spec) for chart in charts]  # pyright: ignore[reportAttributeAccessIssue]
    return [spec["title"]["text"] for spec in specs if isinstance(spec.get("title"), dict)]


def test_the_ensemble_is_explained_from_its_search(searched: str) -> None:
    app = opened("ensemble", **PAGE)
    assert titles(app) == [
        "The ensemble against its baselines",
        "Weights",
        "Leave one out",
        "Similarity of members",
        "Who comes in when",
        "MAP along each weight",
        "The search",
    ]
    assert "Greedy selection (Caruana et al., 2004) reaches 0." in words(app)
    app.toggle(key="only_best").set_value(True).run()
    app.segmented_control(key="similarity").set_value("first 100").run()
    assert not app.exception
    assert len(titles(app)) == 7


def search_again(settings: SearchSettings) -> None:
    """Another search for the weights of the line-up, which the ensemble does not have yet."""
    judgments = Judgments(pl.read_parquet(find_run(EXPERIMENT, stage="optimize").artifact("judgments.parquet")))
    members = stages.predicted_members(EXPERIMENT, LINEUP, split="holdout")
    stages.optimize_members(EXPERIMENT, LINEUP, members=members, judgments=judgments, search=settings)


def test_weights_that_were_shrunk_are_told_from_those_of_the_best_trial(searched: str) -> None:
    assert "towards equal ones" not in words(opened("ensemble", **PAGE))
    search_again(SearchSettings(trials=7, polish=21, shrink=0.5))
    st.cache_data.clear()
    chosen = read_weights(find_run(EXPERIMENT, stage="optimize").artifact("weights.json")).objective
    assert chosen is not None
    shown = words(opened("ensemble", **PAGE))
    assert f"the chosen weights have {chosen.map:.4f}" in shown
    assert "Its weights were then shrunk towards equal ones, 50% of the way." in shown


def test_two_searches_are_on_one_chart_and_in_the_address(searched: str) -> None:
    first = find_run(EXPERIMENT, stage="optimize")
    search_again(SearchSettings(trials=2, seed=5))
    app = opened("ensemble", **PAGE)
    app.selectbox(key="other_search").select(first.run_id).run()
    assert address(app)["other"] == first.run_id
    assert not app.exception
    again = opened("ensemble", **PAGE, other=first.run_id)
    assert again.selectbox(key="other_search").value == first.run_id
    assert opened("ensemble", **PAGE, other="nothing").selectbox(key="other_search").value is None


@pytest.mark.parametrize(
    ("name", "damage"),
    [("similarity.parquet", "missing"), ("judged_pairs.parquet", "cut off"), ("report.json", "cut off")],
)
def test_a_file_that_is_missing_or_cut_off_costs_one_part_of_the_page(searched: str, name: str, damage: str) -> None:
    path = find_run(EXPERIMENT, stage="optimize").artifact(name)
    whole = path.read_bytes()
    path.unlink()
    if damage == "cut off":
        path.write_bytes(whole[: len(whole) // 2])
    app = opened("ensemble", **PAGE)
    assert "A part of this page cannot be shown" in words(app)
    assert "make it again" in words(app)


def test_weights_are_ordered_by_the_first_source() -> None:
    table = ensemble_tables.weights_beside({"own": {"a": 0.2, "b": 0.8}, "other": {"a": 0.5, "c": 0.5}})
    assert table.rows() == [("b", "own", 0.8), ("a", "own", 0.2), ("a", "other", 0.5), ("c", "other", 0.5)]


def test_the_best_tenth_is_at_least_one_trial() -> None:
    trials = pl.DataFrame(
        {"trial": range(25), "source": ["member"] * 4 + ["ax"] * 21, "map": [i / 25 for i in range(25)]}
    )
    own = ensemble_tables.proposals(trials)
    assert own["trial"].to_list() == list(range(4, 25))
    assert own["best"].to_list() == own["map"].to_list()
    assert ensemble_tables.best_tenth(own)["trial"].to_list() == [24, 23, 22]
    assert ensemble_tables.best_tenth(own.head(1)).height == 1


def test_parallel_coordinates_have_an_axis_per_weight_then_k_and_map() -> None:
    trials = pl.DataFrame(
        {"trial": [0, 1], "weight/a": [0.25, 1.0], "weight/b": [0.75, 0.0], "k": [10.0, 1.0], "map": [0.7, 0.6]}
    )
    option = ensemble_tables.parallel_coordinates(trials, ["#000000", "#FFFFFF"], dark=True)
    assert [axis["name"] for axis in option["parallelAxis"]] == ["a", "b", "log10 k", "MAP"]  # pyright: ignore
    assert option["series"][0]["data"] == [[1.0, 0.0, 0.0, 0.6], [0.25, 0.75, 1.0, 0.7]]  # pyright: ignore
    assert option["visualMap"]["dimension"] == 3  # pyright: ignore
    narrow = ensemble_tables.upright_if_narrow(option, axes=4)
    assert narrow["baseOption"] == option
    assert len(narrow["media"][0]["option"]["parallelAxis"]) == len(option["parallelAxis"])  # pyright: ignore


def test_published_weights_are_shares() -> None:
    assert sum(member.weight for member in MEMBERS.values()) == pytest.approx(1, abs=1e-4)
    names = {"narrow-netvlad": "GatedNetVLAD(H1024C16)", "other": "a name that the paper lacks"}
    assert published_weights(names) == {"narrow-netvlad": 0.00218}
