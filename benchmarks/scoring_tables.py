"""The tables and the picture of `make bench`: peers, growth of the cost, the search compared with its limit."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.lists import CLASSES, World, tiled, tiled_judgments
from benchmarks.peers import PATIENCE, Row, compare
from benchmarks.timing import timed
from scoring.fusion.fusion import fuse
from scoring.lists.ranked import read_blocks
from scoring.lists.writing import write_blocks
from scoring.measures.average_precision import mean_average_precision
from scoring.weights.climb import K_RANGE, limit
from scoring.weights.objective import Objective
from scoring.weights.search import POWERS, SMOOTH, search
from scoring.weights.settings import DEFAULTS, SearchSettings
from scoring.weights.trials import Search, Trial
from videos.judgments import Judgments

Say = Callable[[str], None]
MAP_STARTS = 1 + len(POWERS)  # equal weights, powers of each member's own MAP
WARM = MAP_STARTS + len(SMOOTH)  # all warm starts of a search
TRIALS = DEFAULTS.trials
POLISH = 4_000


@dataclass(frozen=True)
class Growth:
    """Seconds to fuse and to evaluate in memory while one parameter of the world, `what`, is doubled twice."""

    what: str
    sizes: tuple[int, ...]
    fuse: tuple[float, ...]
    evaluate: tuple[float, ...]


def peers(say: Say) -> list[str]:
    lines = [
        "| task | peer | list length | peer, ms per class | ours | times faster | same result |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    stopped = []
    for row in compare():
        lines.append(_peer_line(row))
        say(lines[-1])
        if row.seconds > PATIENCE:
            stopped.append(
                f"{row.peer} took more than {PATIENCE:.0f} s per class at length {row.length:,} and stopped there."
            )
    note = (
        "Each peer's data is converted to its own form before its time begins; the time of ranx and scikit-learn "
        "includes leaving out unjudged segments, which they cannot do."
    )
    return [*lines, "", note, *(stopped or ["All peers ran up to competition size."])]


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
        yield Growth(what, sizes, *zip(*measured, strict=True))


def _one(world: World) -> tuple[float, float]:
    submissions, judgments = world.generate()
    fused, seconds = _best(lambda: fuse(submissions, None, 5.0, world.length))
    return seconds, _best(lambda: mean_average_precision(fused, judgments))[1]


def growth_lines(measured: Sequence[Growth]) -> list[str]:
    lines = ["| doubled | sizes | fuse, ms | evaluate, ms |", "|---|---|---|---|"]
    for one in measured:
        sizes = ", ".join(f"{size:,}" for size in one.sizes)
        times = [", ".join(f"{1e3 * value:.1f}" for value in seconds) for seconds in (one.fuse, one.evaluate)]
        lines.append(f"| {one.what} | {sizes} | {times[0]} | {times[1]} |")
    return lines


def growth_picture(measured: Sequence[Growth], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    for axes, one in zip(figure.subplots(1, len(measured)), measured, strict=True):
        for seconds, name, colour in ((one.fuse, "fuse", "#0072B2"), (one.evaluate, "evaluate", "#E69F00")):
            axes.plot(one.sizes, [1e3 * value for value in seconds], marker="o", color=colour, label=name)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set(
            xlabel=one.what, ylabel="milliseconds", xticks=one.sizes, xticklabels=[f"{size:,}" for size in one.sizes]
        )
        axes.minorticks_off()
        low, high = (extreme(1e3 * value for value in (*one.fuse, *one.evaluate)) for extreme in (min, max))
        ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if 0.5 * low <= tick <= 2 * high]
        axes.set(yticks=ticks, yticklabels=[str(tick) for tick in ticks])
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def search_lines(fraction: float, say: Say, seeds: Sequence[int] = (0, 1, 2)) -> list[str]:
    """Compare methods of finding weights on judgments of the paper's size with the best MAP that CMA-ES finds.

    Ax with several seeds: the median of MAP and of the seconds, and the lowest MAP.
    """
    world = World(max(1, round(CLASSES * fraction)))
    sources, _ = world.generate()
    times = max(1, CLASSES // world.classes)
    objective = Objective.of(tiled(sources, times), Judgments(tiled_judgments(world, times)), cutoff=world.length)
    warm, warm_seconds = timed(lambda: search(objective, SearchSettings(trials=WARM)))
    starts = warm.trials.filter(source="warm")["map"].to_list()
    rng = np.random.default_rng(seeds[0])
    ks = np.exp(rng.uniform(np.log(K_RANGE[0]), np.log(K_RANGE[1]), TRIALS))
    drawn, seconds = timed(lambda: objective.maps(rng.random((TRIALS, world.members)), ks).max())
    rows = [
        ("best member", len(world.names), max(warm.members.values()), None),
        ("equal weights", 1, warm.equal_weights, None),
        ("best of equal weights and powers of each member's MAP", MAP_STARTS, max(starts[:MAP_STARTS]), None),
        ("random search", TRIALS, float(drawn), seconds),
        ("best of all warm starts", WARM, max(starts), warm_seconds),
    ]
    searches = [timed(lambda seed=seed: search(objective, SearchSettings(seed=seed))) for seed in seeds]
    maps, laps = [one.map for one, _ in searches], [lap for _, lap in searches]
    rows.append((f"Ax, median of {len(seeds)} seeds", TRIALS, float(np.median(maps)), float(np.median(laps))))
    rows.append((f"Ax, worst of {len(seeds)} seeds", TRIALS, min(maps), max(laps)))
    known = _trials(searches[0][0], objective)
    polished, more = timed(lambda: search(objective, SearchSettings(seed=seeds[0], polish=POLISH), known=known))
    rows.append((f"Ax, then --polish {POLISH}", TRIALS + POLISH, polished.map, laps[0] + more))
    start = Trial("ax", polished.weights, polished.k, polished.map, 0.0)
    top, seconds = timed(lambda: limit(objective, start, evaluations=20_000, seed=seeds[0]))
    rows.append(("the limit: CMA-ES", 20_000, top.map, seconds))
    lines = ["| method | evaluations | MAP | of the limit | seconds |", "|---|--:|--:|--:|--:|"]
    for name, evaluations, value, took in rows:
        time_taken = "" if took is None else f"{took:.1f}"
        lines.append(f"| {name} | {evaluations:,} | {value:.5f} | {value / top.map:.2%} | {time_taken} |")
        say(lines[-1])
    return lines


def size_lines(folder: Path, peak_kib: Callable[[list[Path], Path], int], say: Say) -> list[str]:
    """Fuse nine members of 10, 100 and 1,000 classes: seconds and peak memory.

    Ten classes are generated and repeated. `peak_kib` fuses files into another file.
    """
    world = World(10)
    sources, _ = world.generate()
    lines = ["| classes | from | files, MB | seconds | peak memory, MiB |", "|--:|---|--:|--:|--:|"]
    for classes in (10, 100, CLASSES):
        for suffix, kind in (("", "coded Parquet"), (".csv", "Kaggle CSV")):
            paths = [folder / f"{name}{suffix}" for name in world.names]
            for path, source in zip(paths, tiled(sources, classes // world.classes).values(), strict=True):
                write_blocks(read_blocks(source), world.segments, path)
            size = sum(file.stat().st_size for path in paths for file in (path.glob("*") if path.is_dir() else [path]))
            peak, seconds = timed(lambda paths=paths, suffix=suffix: peak_kib(paths, folder / f"fused{suffix}"))
            lines.append(f"| {classes:,} | {kind} | {size / 1e6:,.0f} | {seconds:.1f} | {peak / 1024:,.0f} |")
            say(lines[-1])
            for path in [*paths, folder / f"fused{suffix}"]:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    return lines


def _trials(result: Search, objective: Objective) -> list[Trial]:
    rows = result.trials.filter(source="ax").iter_rows(named=True)
    return [
        Trial("ax", {m: row[f"weight/{m}"] for m in objective.members}, row["k"], row["map"], row["seconds"])
        for row in rows
    ]


def _best(work: Callable, repeats: int = 3) -> tuple:
    laps = [timed(work) for _ in range(repeats)]
    return laps[0][0], min(seconds for _, seconds in laps)
