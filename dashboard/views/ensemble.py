"""The page of the ensemble: its weights, their gain over the baselines, and how reliable it is."""

from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl
import streamlit as st

from dashboard import charts, data, ensemble_charts, ensemble_tables, logged, searches
from dashboard.chosen import line_up
from dashboard.parts import (
    ensemble_cards,
    number,
    plain,
    show_chart,
    show_provenance,
    show_run_command,
    show_troubles,
)
from scoring.measures.similarity import clustered_order
from scoring.weights.greedy import never_selected
from tracking import metrics
from tracking.metrics import weights as tracked_weights
from tracking.runs import Record

SIMILARITIES = {
    "rank correlation": (
        "correlation",
        "Spearman's correlation over the segments that any member ranks within 1,000, mean of classes. Two members "
        "near 1 add little to each other; similar ones are next to each other.",
    ),
    "first 100": ("overlap_100", "Share of the first 100 segments that both have, mean of classes."),
    "first 1,000": ("overlap_1000", "Share of the first 1,000 segments that both have, mean of classes."),
}


def show(lineup: data.LineUp) -> None:
    st.title("Ensemble")
    st.caption("The members' ranked lists fused into one, each with its weight.")
    show_troubles(lineup)
    ensemble = lineup.ensemble
    if ensemble is None or not ensemble.weights:
        st.info(
            "The members of this line-up have not been fused yet. This command resumes where the last one ended:",
            icon=":material/hourglass_empty:",
        )
        show_run_command(lineup)
        show_provenance(lineup)
        return
    ensemble_cards(ensemble)
    _honesty(lineup, ensemble)
    show_chart(charts.gains(data.comparison(ensemble)), alt="The ensemble and its baselines")
    st.caption("The line is the 95 % percentile interval over bootstrap resamples of the holdout's videos.")
    search = searches.newest(lineup.dataset, lineup.name)
    if search is None:
        show_chart(charts.weights(data.weight_shares(lineup)), alt="Weight of each member")
        st.info("No search has been recorded for these weights.")
    else:
        _searched(lineup, ensemble, search)
    show_provenance(lineup)


def _searched(lineup: data.LineUp, ensemble: data.Ensemble, search: Record) -> None:
    other = _other_search(lineup, search)
    members = sorted({*ensemble.weights, *(member.name for member in lineup.members)})
    left, right = st.columns(2, gap="large")
    with left:
        sources = {"this ensemble": ensemble.weights}
        if published := data.published_weights(lineup):
            sources["the paper (YouTube-8M)"] = published
        if other is not None:
            sources[searches.label(other)] = tracked_weights(other.metrics)
        table = ensemble_tables.weights_beside(sources)
        show_chart(ensemble_charts.weights_beside(table, members), alt="Weights beside others")
    with right, helpful_part():
        if lost := searches.report(search).leave_one_out:
            show_chart(ensemble_charts.left_out(lost, members), alt="MAP lost without each member")
    with helpful_part():
        _similarity(search)
    with helpful_part():
        _explained(search, members)
    with helpful_part():
        _trials(search, other)


@contextmanager
def helpful_part() -> Iterator[None]:
    """A part of the page whose file is missing or cut off is a sentence; the other parts are shown."""
    try:
        yield
    except ValueError as problem:
        st.info(f"A part of this page cannot be shown: {plain(str(problem))}.")


def _other_search(lineup: data.LineUp, search: Record) -> Record | None:
    """The search that the reader compares with, from the page's address."""
    others = {run.run_id: run for run in searches.searches(lineup.dataset) if run.run_id != search.run_id}
    if not others:
        return None
    if st.session_state.get("other_search") not in others:
        st.session_state["other_search"] = st.query_params.get("other")
    if st.session_state["other_search"] not in others:
        st.session_state["other_search"] = None
    chosen = st.selectbox(
        "Compare with another search",
        list(others),
        index=None,
        format_func=lambda run_id: searches.label(others[run_id]),
        key="other_search",
        placeholder="none",
    )
    if chosen is None:
        st.query_params.pop("other", None)
        return None
    st.query_params["other"] = chosen
    return others[chosen]


def _similarity(search: Record) -> None:
    table = logged.similarity(search)
    if table.is_empty():
        return
    name = st.segmented_control("Similarity by", list(SIMILARITIES), default=next(iter(SIMILARITIES)), key="similarity")
    value, about = SIMILARITIES[name or next(iter(SIMILARITIES))]
    chart = ensemble_charts.similarity(table, clustered_order(table, value), value, about)
    show_chart(chart, alt="Similarity of members")


def _explained(search: Record, members: list[str]) -> None:
    """Greedy selection, and MAP along each weight; both from the judged pairs."""
    selection, curves = searches.explained(search)
    left, right = st.columns(2, gap="large")
    with left:
        show_chart(ensemble_charts.greedy(selection, members), alt="Greedy selection of members")
        best, share = selection["map"][-1], searches.weights(search)
        words = f"Greedy selection (Caruana et al., 2004) reaches {number(best)} in {selection.height} steps"
        if share.objective is not None:
            words += f"; the chosen weights have {number(share.objective.map)}"
        unused = [plain(member) for member in never_selected(selection, list(share.weights))]
        st.caption(f"{words}. " + (f"It never takes {', '.join(unused)}." if unused else "It takes every member."))
    with right:
        if curves.is_empty():
            st.info("With one member there is no weight to change.")
        else:
            show_chart(ensemble_charts.along_weights(curves, members), alt="MAP along each weight")


def _trials(search: Record, other: Record | None) -> None:
    proposals = ensemble_tables.proposals(searches.trials(search))
    if proposals.is_empty():
        st.info("No search has been recorded for these weights.")
        return
    best = proposals.sort("map", descending=True, maintain_order=True).row(0, named=True)
    amount = float(search.params.get("shrinkage", 0))
    shrunk = f" Its weights were then shrunk towards equal ones, {amount:.0%} of the way." if amount else ""
    st.caption(
        f"{proposals.height} trials, numbered from {proposals['trial'][0]} after the members alone; the best was "
        f"number {best['trial']} with {number(best['map'])}. Fusion constant k = {best['k']:.2f}: the smaller, the "
        f"more the first ranks of each list count.{shrunk}"
    )
    tables = [proposals.select(pl.lit("this search").alias("search"), "trial", "map", "best")]
    if other is not None:
        theirs = ensemble_tables.proposals(searches.trials(other))
        tables.append(theirs.select(pl.lit(searches.label(other)).alias("search"), "trial", "map", "best"))
    show_chart(ensemble_charts.searches(pl.concat(tables)), alt="MAP of every trial of the search")
    st.subheader("Trials in parallel coordinates")
    only_best = st.toggle("Only the best 10 %", key="only_best")
    chosen = ensemble_tables.best_tenth(proposals) if only_best else proposals
    dark = st.context.theme.type == "dark"
    option = ensemble_tables.parallel_coordinates(chosen, [charts.SKY, charts.ORANGE, charts.RED], dark=dark)
    axes = len(ensemble_tables.members_of(chosen)) + 2  # k and MAP
    st.echarts_chart(
        ensemble_tables.upright_if_narrow(option, axes=axes),
        height=460,
        alt="Weights, k and MAP of every trial, one line per trial",
    )
    st.caption("One line per trial, through its weights (shares), k and MAP. Drag along an axis to choose trials.")


def _honesty(lineup: data.LineUp, ensemble: data.Ensemble) -> None:
    fused = ensemble.score(metrics.map_of(metrics.ENSEMBLE))
    honest = ensemble.score(metrics.cross_validated(metrics.ENSEMBLE))
    equal = ensemble.score(metrics.cross_validated(metrics.EQUAL_WEIGHTS))
    words = (
        f"**{number(fused)} is optimistic:** the weights were chosen on the same holdout videos that score them here. "
    )
    if honest is not None:
        words += (
            f"**{number(honest)}** comes from weights chosen on half of the holdout's videos and scored on the other "
            "half, in turn; a half is another test than the whole, so compare it only with cross-validated scores."
        )
    is_no_better = honest is not None and equal is not None and honest <= equal
    if honest is not None and equal is not None:
        words += f" Equal weights score {number(equal)} there"
        words += ", so the chosen weights are **no better**: equal weights are safer." if is_no_better else "."
    st.markdown(words)
    shrunk = ensemble.score(metrics.cross_validated(metrics.SHRUNK_WEIGHTS))
    if is_no_better and shrunk is not None and not ensemble.score(metrics.SHRINKAGE):
        st.markdown(f"Weights **half-way** between the chosen and equal ones score {number(shrunk)} there:")
        show_run_command(lineup, "--shrink", "0.5")


if __name__ == "__main__":
    show(line_up())
