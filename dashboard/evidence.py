"""What a line-up's measured run has for its pages: judged pairs, the resampled members, their similarity."""

from dataclasses import dataclass

import polars as pl
import streamlit as st

from dashboard import data, leaderboard, logged, losses
from dashboard.class_names import ClassId, class_labels
from dashboard.parts import plain
from scoring.weights.judged_pairs import members_of
from tracking.runs import Record

RUNS = 16  # whose resamples are cached


@dataclass(frozen=True)
class Evidence:
    """Of the measured run `run`: the judged pairs, and the similarity of the members."""

    run: Record
    pairs: pl.DataFrame
    similar: pl.DataFrame

    @property
    def standing(self) -> leaderboard.Standing:
        """The members on resampled videos; seconds for the first page that asks."""
        return _standing(self.run.run_id, self.pairs)

    @property
    def labels(self) -> dict[ClassId, str]:
        """Class id -> the name to show."""
        return class_labels(self.run)

    @property
    def members(self) -> list[str]:
        return members_of(self.pairs)

    def ordered(self, line_up: data.LineUp) -> list[str]:
        """The measured members, best first."""
        return [member.name for member in line_up.members if member.name in self.members]


def evidence(line_up: data.LineUp) -> Evidence | str:
    """The evidence, or a sentence with the reason why there is none."""
    run = losses.measured(line_up)
    if run is None:
        return "The members have not been measured together yet: the search for weights or the fusion does that."
    try:
        pairs, similar = logged.judged_pairs(run), logged.similarity(run)
        return Evidence(run, pairs, similar)
    except (ValueError, OSError, pl.exceptions.PolarsError) as problem:
        return f"Interval, tie groups and judged shares are left out: {problem}."


def evidence_for_page(line_up: data.LineUp) -> Evidence | None:
    """The evidence; None, with the reason on the page, if there is none."""
    measured = evidence(line_up)
    if isinstance(measured, str):
        st.info(plain(measured), icon=":material/info:")
        return None
    return measured


# The run's id is the key of the cache.
@st.cache_data(max_entries=RUNS, show_spinner="Resampling the videos …")
def _standing(run_id: str, _pairs: pl.DataFrame) -> leaderboard.Standing:
    return leaderboard.standing(_pairs)
