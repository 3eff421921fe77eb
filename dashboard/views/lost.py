"""The page What is lost: MAP if one kind of error never happened, and which positives are found worst."""

import streamlit as st

from dashboard import data, ensemble_charts, losses
from dashboard.chosen import line_up
from dashboard.parts import card, number, plain, show_chart, show_run_command, show_table
from scoring.measures.oracles import ORACLES


def show(lineup: data.LineUp) -> None:
    st.title("What is lost")
    st.caption(
        "MAP@100K on the holdout if one kind of error never happened. Negatives of that kind are taken out of the "
        "lists; positives that are not listed are put first. **The gains do not add up**: what remains weighs more or "
        "less once other errors are gone."
    )
    run = losses.measured(lineup)
    if run is None:
        st.info("The members of this line-up have not been searched or fused yet. This does it:")
        show_run_command(lineup)
        return
    try:
        tables = losses.of_run(run)
    except ValueError as problem:
        st.info(f"The ensemble of this line-up lacks what this page reads: {plain(str(problem))}.")
        return
    if tables is None:
        st.info("The segments of this data do not name their videos, so errors cannot be told apart by video.")
        return
    lost, traits = tables
    chosen = _choice(lost["ranking"].unique(maintain_order=True).to_list())
    gains = lost.filter(ranking=chosen)
    largest = gains.sort("gain", descending=True, maintain_order=True).row(0, named=True)
    first, second, third = st.columns(3)
    with first:
        card("MAP@100K", number(gains["now"][0]), plain(chosen))
    with second:
        card("Largest loss of MAP", number(largest["gain"]), largest["oracle"])
    with third:
        card("Errors of that kind", f"{largest['errors']:,}", "judged pairs")
    show_chart(ensemble_charts.oracles(gains), alt="Gain of MAP under each oracle")
    st.caption(
        "A neighbouring segment begins where a positive ends, or ends where one begins: what shifts should cure. "
        "The wrong moment is any other segment of a video in which the class occurs."
    )
    by_trait = traits.filter(ranking=chosen).partition_by("trait", maintain_order=True)
    for place, table in zip(st.columns(len(by_trait), gap="medium"), by_trait, strict=True):
        with place:
            show_chart(ensemble_charts.trait(table), alt=f"Precision by {table['trait'][0]}")
    st.caption(
        "The mean precision at the positives of each kind; their mean within a class is its AP. The share of the "
        "video is the positive part of its judged segments."
    )
    st.subheader("Every ranking")
    show_table(
        losses.gains(lost),
        {
            "ranking": "Ranking",
            "now": st.column_config.NumberColumn("MAP", format="%.4f"),
            **{oracle: st.column_config.NumberColumn(oracle.capitalize(), format="%+.4f") for oracle in ORACLES},
        },
        name="lost",
        alt="Gain of MAP under each oracle, per ranking",
    )


def _choice(names: list[str]) -> str:
    """The ranking that the page is about, from the page's address."""
    if st.session_state.get("lost_ranking") not in names:
        asked = st.query_params.get("ranking")
        st.session_state["lost_ranking"] = asked if asked in names else names[0]
    name = st.selectbox("Ranking", names, key="lost_ranking")
    st.query_params["ranking"] = name
    return name


if __name__ == "__main__":
    show(line_up())
