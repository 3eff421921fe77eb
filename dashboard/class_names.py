"""The names of classes, where the dataset has them: the run that made the frame store logs its vocabulary."""

from collections import Counter

import polars as pl
import streamlit as st

from dashboard.chosen import SECONDS
from tracking import runs
from tracking.runs import Record
from tracking.store import tracking_uri
from videos.dataset import CLASS_NAMES, read_class_names

ClassId = int | str


def class_labels(run: Record) -> dict[ClassId, str]:
    """Class id -> the name to show, for the data that a run used; empty if the store has no names of this data."""
    return _class_labels(tracking_uri(), run.experiment, run.tags.get(runs.DATA_DIGEST, ""))


def label(labels: dict[ClassId, str], class_id: ClassId) -> str:
    """The name of a class, its id if it has none."""
    return labels.get(class_id, str(class_id))


def named(table: pl.DataFrame, labels: dict[ClassId, str]) -> pl.DataFrame:
    """The table with the names of the classes in its column `class_id`, which becomes text."""
    ids: list[ClassId] = table["class_id"].to_list()
    return table.with_columns(pl.Series("class_id", [label(labels, class_id) for class_id in ids], pl.String))


# `uri` is part of the cache's key.
@st.cache_data(ttl=SECONDS, show_spinner=False)
def _class_labels(uri: str, experiment: str, digest: str) -> dict[ClassId, str]:
    for run in runs.find_runs(experiment, kind="dataset", stage="ingest", data_digest=digest):
        try:
            names = read_class_names(run.artifact(CLASS_NAMES))
        except ValueError:  # made by an earlier version, or its files are gone: pages show numbers
            continue
        counts = Counter(names)
        return {
            class_id: name if counts[name] == 1 else f"{name} ({class_id})"
            for class_id, name in enumerate(names)
            if name != str(class_id)
        }
    return {}
