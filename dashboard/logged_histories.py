"""Histories of metrics, read once of a run that has ended."""

from datetime import datetime

import polars as pl
import streamlit as st

from dashboard.member import CURVES
from tracking.runs import Record, metric_history
from tracking.store import tracking_uri

RUNS = 64  # whose histories are cached


def histories(run: Record) -> dict[str, pl.DataFrame]:
    """The history of each metric of a learning curve."""
    if run.status == "RUNNING":
        return _read(run.run_id)
    return _of_ended(tracking_uri(), run.run_id, run.end)


# The end is part of the cache's key: a stage that was stopped and goes on is the same run.
@st.cache_data(max_entries=RUNS, show_spinner="Reading the curves …")
def _of_ended(uri: str, run_id: str, end: datetime | None) -> dict[str, pl.DataFrame]:
    return _read(run_id)


def _read(run_id: str) -> dict[str, pl.DataFrame]:
    return {name: metric_history(run_id, name) for name in CURVES}
