"""The picture of a search for weights, for people who review runs."""

from typing import TYPE_CHECKING

import polars as pl

from scoring.search import Search

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"member": "#CC79A7", "warm": "#E69F00", "ax": "#0072B2", "climb": "#009E73"}  # Okabe and Ito
NAMES = {"member": "one member alone", "warm": "warm start", "ax": "proposed by Ax", "climb": "polish"}


def search_figure(found: Search) -> "Figure":
    """Left: MAP of each trial and the best so far. Right: the shares found."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    for source, colour in COLOURS.items():
        trials = found.trials.filter(pl.col("source") == source)
        if trials.height:
            left.scatter(trials["trial"], trials["map"], s=18, color=colour, label=NAMES[source])
    left.step(found.trials["trial"], found.trials["best"], where="post", color="#333333", label="best so far")
    left.axhline(found.equal_weights, color="#999999", linestyle="--", label="equal weights")
    left.set(xlabel="trial", ylabel="MAP on the judgments searched on", title=f"Best {found.map:.4f}, k {found.k:.3g}")
    left.legend(fontsize=8)
    members = sorted(found.weights, key=lambda member: found.weights[member])
    bars = right.barh(members, [found.weights[member] for member in members], color=COLOURS["ax"])
    right.bar_label(bars, fmt="%.3f", padding=2, fontsize=8)
    right.margins(x=0.15)
    right.set(xlabel="share", title="Weights found")
    return figure
