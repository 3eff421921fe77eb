"""Pages show the names of classes where the store has those of the very data, and numbers elsewhere."""

import json

import polars as pl
import pytest
import streamlit as st

from dashboard.class_names import class_labels
from tests.dashboard.searched import EXPERIMENT, LINEUP
from tests.dashboard.seeding import DATA
from tests.dashboard.test_pages import opened
from tracking.runs import find_run
from tracking.writing import open_run
from videos.dataset import CLASS_NAMES

HOSTILE = "<script>alert(1)</script> **bold** [x](http://x) $y$ " + "x" * 450
NAMES = [HOSTILE, "Dog", "Dog", "3", "Speech", "Blender"]
SHOWN = [HOSTILE, "Dog (1)", "Dog (2)", "3", "Speech", "Blender"]


def judged_classes() -> list[int]:
    pairs = pl.read_parquet(find_run(EXPERIMENT, stage="optimize").artifact("judged_pairs.parquet"))
    return pairs["class_id"].unique().sort().to_list()


def log_names(text: str, digest: str = DATA) -> None:
    tags = {"dataset": EXPERIMENT, "stage": "ingest", "kind": "dataset", "data_digest": digest}
    with open_run(EXPERIMENT, "ingest", tags) as run:
        run.text(text, CLASS_NAMES)
    st.cache_data.clear()


@pytest.mark.parametrize("page", ["member", "compare", "segments", "what_if"])
def test_every_page_with_classes_shows_their_names(searched: str, page: str) -> None:
    log_names(json.dumps(NAMES))
    app = opened(page, dataset=EXPERIMENT, lineup=LINEUP)
    in_tables = {name for table in app.dataframe if "class_id" in table.value for name in table.value["class_id"]}
    offered = {name for box in app.selectbox if box.label.startswith("Class") for name in box.options}
    assert in_tables | offered == {SHOWN[class_id] for class_id in judged_classes()}
    for element in [*app.markdown, *app.caption, *app.info]:
        assert "alert(1)" not in element.value


def test_a_class_is_chosen_by_its_name_in_the_address(searched: str) -> None:
    log_names(json.dumps(NAMES))
    app = opened("segments", dataset=EXPERIMENT, lineup=LINEUP, **{"class": "Dog (2)"})
    assert app.selectbox(key="class").value == "Dog (2)"
    by_number = opened("segments", dataset=EXPERIMENT, lineup=LINEUP)
    by_number.selectbox(key="class").select_index(judged_classes().index(2)).run()
    assert app.dataframe[0].value.equals(by_number.dataframe[0].value)


@pytest.mark.parametrize(("text", "digest"), [(json.dumps(NAMES), "of other data"), ("[1, 2]", DATA), ("cut o", DATA)])
def test_without_names_of_this_data_there_are_numbers(searched: str, text: str, digest: str) -> None:
    log_names(text, digest)
    assert class_labels(find_run(EXPERIMENT, stage="optimize")) == {}
    app = opened("segments", dataset=EXPERIMENT, lineup=LINEUP)
    assert app.selectbox(key="class").options == [str(class_id) for class_id in judged_classes()]
