"""The tables of the page What is lost, per ranking: the ensemble or one of its members."""

import polars as pl
import streamlit as st

from dashboard import data, logged, searches
from scoring.measures import oracles
from scoring.weights.judged_pairs import JUDGED_PAIRS, MEMBER_RANK, members_of
from tracking.runs import SPLIT, STAGE, Record
from videos.segments import has_videos

ENSEMBLE = "the ensemble"


def measured(lineup: data.LineUp) -> Record | None:
    """The run with the judged pairs of the present weights: the fusion of the holdout, else the newest search."""
    for run in lineup.ensemble.stages if lineup.ensemble else ():
        is_fusion = (run.tags.get(STAGE), run.tags.get(SPLIT), run.status) == ("fuse", "holdout", "FINISHED")
        if is_fusion and run.has_artifact(JUDGED_PAIRS):
            return run
    return searches.newest(lineup.dataset, lineup.name)


def rankings(pairs: pl.DataFrame) -> list[str]:
    """What a page can be about: the ensemble, then its members."""
    return [ENSEMBLE, *members_of(pairs)]


def ranking(pairs: pl.DataFrame, name: str) -> pl.DataFrame:
    """The judged pairs with the ranks of one ranking: class_id, segment_id, relevance, rank."""
    rank = "rank" if name == ENSEMBLE else f"{MEMBER_RANK}{name}"
    return pairs.select("class_id", "segment_id", "relevance", rank=pl.col(rank))


def lost(pairs: pl.DataFrame) -> pl.DataFrame:
    """The oracles of every ranking: ranking, now (its MAP), oracle, map, gain, errors."""
    tables = []
    for name in rankings(pairs):
        ranks = ranking(pairs, name)
        tables.append(
            oracles.oracles(ranks).select(
                pl.lit(name).alias("ranking"),
                pl.lit(oracles.map_of(ranks)).alias("now"),
                "oracle",
                "map",
                "gain",
                "errors",
            )
        )
    return pl.concat(tables)


def gains(table: pl.DataFrame) -> pl.DataFrame:
    """`lost`, one row per ranking: ranking, now, and the gain under each oracle."""
    return table.pivot("oracle", index=["ranking", "now"], values="gain", maintain_order=True)


def traits(pairs: pl.DataFrame) -> pl.DataFrame:
    """The precision by trait of every ranking: ranking, trait, bin, positives, precision."""
    return pl.concat(
        [
            oracles.sensitivity(ranking(pairs, name)).select(pl.lit(name).alias("ranking"), pl.all())
            for name in rankings(pairs)
        ]
    )


def of_run(run: Record) -> tuple[pl.DataFrame, pl.DataFrame] | None:
    """`lost` and `traits` of a run; None if its segments do not name videos. ValueError as `logged.judged_pairs`."""
    return _of_run(run.run_id, run)


@st.cache_data(max_entries=16, show_spinner="Looking for what is lost …")
def _of_run(run_id: str, _run: Record) -> tuple[pl.DataFrame, pl.DataFrame] | None:
    pairs = logged.judged_pairs(_run)
    return (lost(pairs), traits(pairs)) if has_videos(pairs) else None
