"""Figures for people who review runs: learning curves, AP per class, shifts, and the search for weights."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from tracking import metrics
from tracking.writing import Run

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


def log_classes(run: Run, per_class: pl.DataFrame) -> None:
    """Log AP per class (class_id, ap, positives) as a table and a picture."""
    run.table(per_class.sort("ap", descending=True), "ap_per_class")
    run.figure(class_figure(per_class), "ap_per_class.png")


def class_figure(per_class: pl.DataFrame) -> "Figure":
    """AP of each class (columns class_id, ap, positives), the best first, and the number of its positives."""
    from matplotlib.figure import Figure

    classes = per_class.sort("ap", "class_id", descending=[True, False])
    figure = Figure(figsize=(9, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    places = range(classes.height)
    upper.bar(places, classes["ap"], width=1.0 if classes.height > 60 else 0.8, color=COLOURS[0])
    upper.axhline(float(classes["ap"].to_numpy().mean()), color=COLOURS[-1], linewidth=0.8, label="MAP")
    upper.set(ylabel="AP@100K", ylim=(0, 1.02), title=f"AP of {classes.height} classes on the holdout")
    upper.legend(fontsize=8)
    lower.bar(places, classes["positives"], width=1.0 if classes.height > 60 else 0.8, color=COLOURS[4])
    lower.set(ylabel="positives", xlabel="class")
    if classes.height <= 60:
        lower.set_xticks(places, [str(name) for name in classes["class_id"]], rotation=90, fontsize=7)
    return figure


def shifts_figure(maps: Mapping[int, float]) -> "Figure":
    """MAP under each shift, as the gain over the shift 0 where there is one."""
    from matplotlib.figure import Figure

    reference = maps.get(0, 0.0)
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    shifts = sorted(maps)
    bars = axes.bar(shifts, [maps[shift] - reference for shift in shifts], color=COLOURS[0])
    axes.set_xticks(shifts, [metrics.shift_label(shift) for shift in shifts])
    axes.bar_label(bars, [f"{maps[shift]:.4f}" for shift in shifts], fontsize=8, padding=2)
    axes.axhline(0, color=COLOURS[-1], linewidth=0.8)
    axes.use_sticky_edges = False  # else bars without a height have their labels outside
    axes.margins(y=0.2)
    label = "MAP minus MAP without a shift" if 0 in maps else "MAP"
    axes.set(xlabel="shift (frames; positive: earlier)", ylabel=label, title="MAP under each shift, on the holdout")
    return figure


def curve_figure(loss: pl.DataFrame, scores: pl.DataFrame, chosen: int) -> "Figure":
    """Training loss and MAP on the holdout by step (tables of step and value); the chosen checkpoint is marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    for place, table, name in ((axes[0], loss, "training loss"), (axes[1], scores, "MAP on the holdout")):
        place.plot(
            table["step"], table["value"], color=COLOURS[0], marker="o" if table.height < 50 else "", markersize=3
        )
        place.axvline(chosen, color=COLOURS[5], linestyle="--", linewidth=0.8, label=f"chosen: step {chosen}")
        place.set(xlabel="step", title=name)
        place.legend(fontsize=8)
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
