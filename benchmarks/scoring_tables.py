"""The tables and the picture that `make bench` writes: peers, growth of the cost, the search against its limit."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.lists import CLASSES, World, tiled, tiled_judgments
from benchmarks.peers import Row, compare
from scoring.average_precision import mean_average_precision
from scoring.fusion import fuse
from scoring.objective import Objective
from scoring.ranked import from_codes
from scoring.search import K_RANGE, Search, Trial, limit, search

Say = Callable[[str], None]


@dataclass(frozen=True)
class Growth:
    """Seconds in memory when one thing of the world is doubled twice."""

    what: str
    sizes: tuple[int, ...]
    fuse: tuple[float, ...]
    evaluate: tuple[float, ...]


def peers(say: Say) -> list[str]:
    lines = [
        "| task | peer | list length | peer, ms a class | ours | times faster | same result |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    for row in compare():
        lines.append(_peer_line(row))
        say(lines[-1])
    return lines


def _peer_line(row: Row) -> str:
    ratio = row.seconds / row.ours
    times = f"{1e3 * row.seconds:.1f} | {1e3 * row.ours:.1f} | {ratio:.1f}"
    return f"| {row.task} | {row.peer} | {row.length:,} | {times} | {'yes' if row.agrees else 'NO'} |"


def growth() -> Iterator[Growth]:
    """Classes, members and list length, each doubled twice from 2 classes, 3 members, 25,000 segments."""
    base = {"classes": 2, "members": 3, "length": 25_000}
    for what, first in base.items():
        sizes = tuple(first * factor for factor in (1, 2, 4))
        measured = [_one(World(**{**base, what: size})) for size in sizes]
        yield Growth(what, sizes, tuple(f for f, _ in measured), tuple(e for _, e in measured))


def _one(world: World) -> tuple[float, float]:
    lists = [world.ranked(class_id) for class_id in range(world.classes)]
    submissions = {
        name: from_codes({c: of[name] for c, (of, _, _) in enumerate(lists)}, world.segments) for name in world.names
    }
    judgments = tiled_judgments(world, 1)
    fused, seconds = _best(lambda: fuse(submissions, None, 5.0, world.length))
    return seconds, _best(lambda: mean_average_precision(fused, judgments))[1]


def growth_lines(measured: Sequence[Growth]) -> list[str]:
    lines = ["| doubled | sizes | fuse, ms | evaluate, ms |", "|---|---|---|---|"]
    for one in measured:
        sizes = ", ".join(f"{size:,}" for size in one.sizes)
        times = [", ".join(f"{1e3 * value:.1f}" for value in of) for of in (one.fuse, one.evaluate)]
        lines.append(f"| {one.what} | {sizes} | {times[0]} | {times[1]} |")
    return lines


def growth_picture(measured: Sequence[Growth], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    for axes, one in zip(figure.subplots(1, len(measured)), measured, strict=True):
        for of, name, colour in ((one.fuse, "fuse", "#0072B2"), (one.evaluate, "evaluate", "#E69F00")):
            axes.plot(one.sizes, [1e3 * value for value in of], marker="o", color=colour, label=name)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set(
            xlabel=one.what, ylabel="milliseconds", xticks=one.sizes, xticklabels=[f"{size:,}" for size in one.sizes]
        )
        axes.minorticks_off()
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def search_lines(fraction: float, say: Say, seed: int = 0) -> list[str]:
    """Ways to find weights on judgments of the paper's size, measured by the gain over equal weights to be had."""
    world = World(max(1, round(CLASSES * fraction)))
    lists = [world.ranked(class_id)[0] for class_id in range(world.classes)]
    sources = {name: from_codes({c: of[name] for c, of in enumerate(lists)}, world.segments) for name in world.names}
    times = max(1, CLASSES // world.classes)
    objective = Objective.of(tiled(sources, times), tiled_judgments(world, times), world.length)
    equal, _ = _timed(lambda: search(objective, trials=1))
    rows = [
        ("equal weights", 1, equal.equal_weights, 0.0),
        ("best member", len(world.names), max(equal.members.values()), 0.0),
    ]
    rng = np.random.default_rng(seed)
    ks = np.exp(rng.uniform(np.log(K_RANGE[0]), np.log(K_RANGE[1]), 60))
    drawn, seconds = _timed(lambda: objective.maps(rng.random((60, world.members)), ks).max())
    rows.append(("random search", 60, float(drawn), seconds))
    found, seconds = _timed(lambda: search(objective, 60, seed))
    rows.append(("Ax", 60, found.map, seconds))
    polished, more = _timed(lambda: search(objective, 60, seed, polish=400, known=_trials(found, objective)))
    rows.append(("Ax, then --polish 400", 460, polished.map, seconds + more))
    start = Trial("ax", polished.weights, polished.k, polished.map, 0.0)
    top, seconds = _timed(lambda: limit(objective, start, 20_000, seed))
    rows.append(("the limit: CMA-ES", 20_000, top.map, seconds))
    lines = ["| way | evaluations | MAP | of the limit | seconds |", "|---|--:|--:|--:|--:|"]
    for name, evaluations, value, took in rows:
        lines.append(f"| {name} | {evaluations:,} | {value:.5f} | {value / top.map:.2%} | {took:.1f} |")
        say(lines[-1])
    return lines


def _trials(found: Search, objective: Objective) -> list[Trial]:
    rows = found.trials.filter(source="ax").iter_rows(named=True)
    return [
        Trial("ax", {m: row[f"weight/{m}"] for m in objective.members}, row["k"], row["map"], row["seconds"])
        for row in rows
    ]


def _best(work: Callable, repeats: int = 3) -> tuple:
    laps = [_timed(work) for _ in range(repeats)]
    return laps[0][0], min(seconds for _, seconds in laps)


def _timed(work: Callable) -> tuple:
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began
