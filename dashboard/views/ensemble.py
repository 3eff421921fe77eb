"""The page of the ensemble: its weights, their gain over the baselines, and how reliable it is."""

import streamlit as st

from dashboard import charts, data
from dashboard.chosen import line_up
from dashboard.parts import card, change_card, gain, number, show_provenance, show_troubles
from tracking import metrics


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
        st.code(f"python -m training run --lineup {lineup.name} --data DIR", language="bash")
        show_provenance(lineup)
        return
    _headline(ensemble)
    _honesty(lineup, ensemble)
    left, right = st.columns(2, gap="medium")
    with left:
        st.subheader("Weights")
        st.caption("The share of each member in the fusion.")
        st.altair_chart(charts.weights(data.weight_shares(lineup)), alt="Weight of each member")
    with right:
        st.subheader("Baselines")
        st.caption("The line is the 95 % percentile interval over bootstrap resamples of the holdout's videos.")
        st.altair_chart(charts.comparison(data.comparison(ensemble)), alt="The ensemble and its baselines")
    st.subheader("The search")
    _search(ensemble)
    show_provenance(lineup)


def _headline(ensemble: data.Ensemble) -> None:
    fused = ensemble.score(metrics.map_of(metrics.ENSEMBLE))
    honest = ensemble.score(metrics.cross_validated(metrics.ENSEMBLE))
    low, high = ensemble.score(metrics.low(metrics.ENSEMBLE)), ensemble.score(metrics.high(metrics.ENSEMBLE))
    interval = None if low is None or high is None else f"95 % interval {number(low)} to {number(high)}"
    first, second, third, fourth = st.columns(4)
    with first:
        card("MAP@100K, in sample (optimistic)", number(fused), interval)
    with second:
        card("MAP@100K, cross-validated", number(honest), "chosen and scored on different videos")
    for place, label, rival in (
        (third, "Gain over equal weights", metrics.EQUAL_WEIGHTS),
        (fourth, "Gain over the best member", metrics.BEST_MEMBER),
    ):
        with place:
            in_sample = gain(fused, ensemble.score(metrics.map_of(rival)))
            held_out = gain(honest, ensemble.score(metrics.cross_validated(rival)))
            change_card(label, in_sample or "–", held_out, "cross-validated")


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
        st.code(f"python -m training run --lineup {lineup.name} --data DIR --shrink 0.5", language="bash")


def _search(ensemble: data.Ensemble) -> None:
    if ensemble.trials.is_empty():
        st.info("No search has been recorded for these weights.")
        return
    k = ensemble.score(metrics.K)
    best = ensemble.trials.sort("map", descending=True, maintain_order=True).row(0, named=True)
    words = f"{ensemble.trials.height} trials; the best was number {best['trial']} with {number(best['map'])}."
    if k is not None:
        words += f" Fusion constant k = {k:.2f}: the smaller, the more the first ranks of each list count."
    st.caption(f"{words} Each dot is one trial; the line is the best MAP so far.")
    chart = charts.search(ensemble.trials, ensemble.score(metrics.map_of(metrics.EQUAL_WEIGHTS)))
    st.altair_chart(chart, alt="MAP of every trial of the search")


if __name__ == "__main__":
    show(line_up())
