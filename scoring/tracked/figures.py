"""Figures of a weight search, for people who review runs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#333333")
SOURCES = {  # of trials: name and colour (Okabe and Ito's)
    "member": ("one member alone", "#CC79A7"),
    "warm": ("warm start", "#E69F00"),
    "ax": ("proposed by Ax", "#0072B2"),
    "climb": ("polish", "#009E73"),
    "published": ("published", "#56B4E9"),
}


def best_row(trials: pl.DataFrame) -> dict[str, Any]:
    """The first row of the highest `map` of a table of trials."""
    return trials.sort("map", descending=True, maintain_order=True).row(0, named=True)


def sensitivity_figure(curves: Mapping[str, tuple[list[float], list[float]]], best: float) -> "Figure":
    """MAP as a function of one member's share while the others keep their ratios: (shares, MAPs) per member."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    styles = ("-", "--", ":", "-.")
    for number, (member, (shares, maps)) in enumerate(sorted(curves.items())):
        cycle, colour = divmod(number, len(COLOURS))
        axes.plot(shares, maps, color=COLOURS[colour], linestyle=styles[cycle % len(styles)], label=member)
    axes.axhline(best, color="#999999", linewidth=0.8)
    axes.set(xlabel="share of the member", ylabel="MAP on the judgments searched on")
    axes.set_title("How much each weight matters")
    figure.legend(fontsize=8, loc="outside right upper")
    return figure


def search_figure(trials: pl.DataFrame, baselines: Mapping[str, float]) -> "Figure":
    """Left: MAP of each trial, the best so far, and baselines by name. Right: the shares of the best trial."""
    from matplotlib.figure import Figure

    best = best_row(trials)
    shares = {name.removeprefix("weight/"): share for name, share in best.items() if name.startswith("weight/")}
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    for source, (name, colour) in SOURCES.items():
        points = trials.filter(pl.col("source") == source)
        if points.height:
            left.scatter(points["trial"], points["map"], s=18, color=colour, label=name)
    left.step(trials["trial"], trials["best"], where="post", color="#333333", label="best so far")
    for (name, value), style in zip(baselines.items(), ("--", ":"), strict=False):
        left.axhline(value, color="#999999", linestyle=style, label=name)
    title = f"Best {best['map']:.4f} with k {best['k']:.3g}"
    left.set(xlabel="trial", ylabel="MAP on the judgments searched on", title=title)
    left.legend(fontsize=8)
    members = sorted(shares, key=lambda member: shares[member])
    bars = right.barh(members, [shares[member] for member in members], color="#0072B2")
    right.bar_label(bars, fmt="%.3f", padding=2, fontsize=8)
    right.margins(x=0.15)
    right.set(xlabel="share", title="Weights of the best trial")
    return figure
