"""The tables that the stages log so that no page reads whole lists. Finished runs never change, so they are cached."""

import polars as pl
import streamlit as st

from scoring.lists.ranked import ClassId
from scoring.lists.top_lists import TOP, TOP_SEGMENTS, read_top
from scoring.measures.similarity import SIMILARITY_FILE
from scoring.weights.judged_pairs import JUDGED_PAIRS
from tracking.runs import Record

RUNS = 32  # whose tables are cached


def judged_pairs(run: Record) -> pl.DataFrame:
    """The judged pairs of an optimize run, or of a fuse run on the holdout; columns as `scoring.weights.judged_pairs`.

    ValueError with the remedy if the run has none, since an earlier version made it, or if it is damaged.
    """
    return _table(run.run_id, JUDGED_PAIRS, run)


def similarity(run: Record) -> pl.DataFrame:
    """The similarity of the members in such a run; columns as `scoring.measures.similarity`. Errors as above."""
    return _table(run.run_id, SIMILARITY_FILE, run)


def top(run: Record, class_id: ClassId) -> pl.DataFrame:
    """The first 1,000 segments of a class in a merge run: member, rank u32, segment_id. Errors as above."""
    return _top(run.run_id, class_id, run)


# The run's id is the key of the cache.
@st.cache_data(max_entries=RUNS, show_spinner="Reading the run …")
def _table(run_id: str, name: str, _run: Record) -> pl.DataFrame:
    return _run.table(name)


@st.cache_data(max_entries=200, show_spinner="Reading the lists …")
def _top(run_id: str, class_id: ClassId, _run: Record) -> pl.DataFrame:
    with _run.reading(TOP, TOP_SEGMENTS) as (path, _):  # a tracking server hands out one file at a time
        return read_top(path.parent, class_id)
