"""The page What is lost, as Streamlit runs it, and its tables."""

import polars as pl
import pytest

from dashboard import losses
from scoring.measures import oracles
from tests.dashboard.searched import EXPERIMENT, LINEUP, MEMBERS
from tests.dashboard.test_pages import address, metrics, opened, words
from tracking.runs import find_run

PAGE = {"dataset": EXPERIMENT, "lineup": LINEUP}


def test_losses_of_the_ensemble_and_its_members(searched: str) -> None:
    app = opened("lost", **PAGE)
    fused = find_run(EXPERIMENT, stage="fuse", split="holdout")
    assert metrics(app)["MAP@100K"] == (f"{fused.metrics['ensemble/map']:.4f}", "the ensemble")
    assert "The gains do not add up" in words(app)
    table = app.dataframe[0].value
    assert table["ranking"].to_list() == [losses.ENSEMBLE, *MEMBERS]
    assert set(oracles.ORACLES) < set(table.columns)
    app.selectbox(key="lost_ranking").select(MEMBERS[0]).run()
    search = find_run(EXPERIMENT, stage="optimize")
    assert metrics(app)["MAP@100K"][0] == f"{search.metrics[f'{MEMBERS[0]}/map']:.4f}"
    assert address(app)["ranking"] == MEMBERS[0]
    again = opened("lost", **PAGE, ranking=MEMBERS[0])
    assert metrics(again) == metrics(app)


def test_without_judged_pairs_the_page_helps(seeded: str) -> None:
    assert "have not been searched or fused yet" in words(opened("lost", dataset="audioset", lineup="audioset"))
    assert "make it again" in words(opened("lost", dataset="synthetic", lineup="demo"))


def test_segments_without_videos_are_no_error(searched: str) -> None:
    for stage in ("fuse", "optimize"):
        tags = {"split": "holdout"} if stage == "fuse" else {}
        path = find_run(EXPERIMENT, stage=stage, **tags).artifact("judged_pairs.parquet")
        table = pl.read_parquet(path)
        table.with_columns(pl.col("segment_id").str.replace(":", "-")).write_parquet(path)
    assert "do not name their videos" in words(opened("lost", **PAGE))


def test_gains_have_a_column_per_oracle() -> None:
    pairs = pl.DataFrame(
        {
            "class_id": [1, 1, 1],
            "segment_id": ["a:0", "a:5", "b:0"],
            "relevance": [0, 1, 1],
            "rank": [1, 2, None],
            "rank/m": [3, 2, 1],
        }
    )
    table = losses.gains(losses.lost(pairs))
    assert table["ranking"].to_list() == [losses.ENSEMBLE, "m"]
    assert table["now"].to_list() == [0.25, 1.0]
    assert table[oracles.NEIGHBOUR].to_list() == pytest.approx([0.25, 0.0])
