"""The searches for weights that the store has, and what-if scoring on the judged pairs of one."""

from dataclasses import dataclass

import polars as pl
import streamlit as st

from dashboard import logged
from dashboard.ensemble_tables import along_weights
from scoring.fusion.fusion import MEMBER_K
from scoring.weights.greedy import greedy_selection
from scoring.weights.report import Report, read_report
from scoring.weights.weights_json import Weights, read_weights
from scoring.weights.what_if import Scored, WhatIf
from tracking import runs
from tracking.runs import Record
from tracking.store import tracking_uri
from videos.judgments import Unit

SECONDS = 10  # for which an answer of the store is cached


@dataclass(frozen=True)
class Prepared:
    """What-if scoring on a search's judged pairs, with equal weights and the search's weights scored already."""

    what_if: WhatIf
    weights: Weights
    equal: Scored
    chosen: Scored
    unit: Unit


def searches(dataset: str) -> list[Record]:
    """The finished searches of all line-ups of a dataset, newest first."""
    return _searches(tracking_uri(), dataset)


def newest(dataset: str, lineup: str) -> Record | None:
    """The newest finished search of a line-up."""
    return next((run for run in searches(dataset) if run.tags.get(runs.LINEUP) == lineup), None)


def label(run: Record) -> str:
    """A search in a selector: its line-up, when it was started (UTC) and the start of its id."""
    return f"{run.tags.get(runs.LINEUP, run.name)}, {run.start:%Y-%m-%d %H:%M}, {run.run_id[:6]}"


def saved(dataset: str, lineup: str) -> list[Record]:
    """The parent runs of the ensembles that somebody saved, newest first."""
    return runs.find_runs(dataset, finished=False, lineup=lineup, kind="named")


def fused(parent: Record, split: str) -> Record | None:
    """The finished fuse run of a saved ensemble on a split."""
    records = runs.find_runs(parent.experiment, stage="fuse", split=split, ensemble=parent.tags[runs.ENSEMBLE])
    return next((run for run in records if run.parent == parent.run_id), None)


def weights(run: Record) -> Weights:
    """The weights that a search chose; ValueError if its file is missing or cut off."""
    return _weights(run.run_id, run)


def report(run: Record) -> Report:
    """The report of a search; ValueError if its file is missing or cut off."""
    return _report(run.run_id, run)


def trials(run: Record) -> pl.DataFrame:
    """The trials of a search, as `scoring.weights.trials.Search` has them."""
    return _trials(run.run_id, run)


def prepared(run: Record) -> Prepared:
    """What-if scoring for a search; ValueError with the remedy if it lacks its tables."""
    return _prepared(run.run_id, run)


def explained(run: Record) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Greedy selection with the k of a search, and MAP along each of its weights; ValueError as `prepared`."""
    return _explained(run.run_id, run)


@st.cache_data(ttl=SECONDS, show_spinner=False)
def _searches(uri: str, dataset: str) -> list[Record]:
    return runs.find_runs(dataset, stage="optimize")


@st.cache_data(max_entries=64, show_spinner=False)
def _weights(run_id: str, _run: Record) -> Weights:
    with _run.reading("weights.json") as (path,):
        return read_weights(path)


@st.cache_data(max_entries=64, show_spinner=False)
def _report(run_id: str, _run: Record) -> Report:
    with _run.reading("report.json") as (path,):
        return read_report(path)


@st.cache_data(max_entries=64, show_spinner=False)
def _trials(run_id: str, _run: Record) -> pl.DataFrame:
    return _run.table("trials.parquet")


@st.cache_resource(max_entries=4, show_spinner="Reading the judged pairs …")
def _prepared(run_id: str, _run: Record) -> Prepared:
    unit, fusion = report(_run).unit, weights(_run)
    what_if = WhatIf(logged.judged_pairs(_run), unit)
    equal, chosen = what_if.score(None, MEMBER_K), what_if.score(fusion.weights, fusion.k)
    return Prepared(what_if, fusion, equal, chosen, unit)


@st.cache_data(max_entries=16, show_spinner="Selecting members …")
def _explained(run_id: str, _run: Record) -> tuple[pl.DataFrame, pl.DataFrame]:
    ready = prepared(_run)
    objective, fusion = ready.what_if.objective, ready.weights
    return greedy_selection(objective, k=fusion.k), along_weights(objective, fusion.weights, fusion.k)
