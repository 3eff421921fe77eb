"""`python -m benchmarks.scoring`: fuse, evaluate and search at competition size, compared with the original programs.

Everything is generated, run and compared in one process. A ratio is only given for equal results: the same order of
every fused list (except for equal scores), the same MAP. Times are for all 1,000 classes: the time of a fraction of
them, scaled up, except that the table of segments is read and written once; Parquet is evaluated at full size. Python's
start is not included. The originals are loops in plain Python, on one core; ours uses all cores.
"""

import json as json_format
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks import originals
from benchmarks.lists import CLASSES, LENGTH, World, tiled, tiled_judgments
from benchmarks.timing import timed
from scoring.fusion.fusion import MEMBER_K, fuse, shares_of
from scoring.fusion.workers import fuse_in_blocks
from scoring.lists.ids import union_of_segments
from scoring.lists.opening import open_submission, open_submissions
from scoring.lists.ranked import Part, RankedLists, Submission, parts, read_blocks
from scoring.lists.writing import write_blocks, write_segments
from scoring.measures.average_precision import evaluate_ranks, ranks_of_blocks
from scoring.weights.objective import Objective
from videos.judgments import Judgments

REPEATS = 5
RESULTS = Path(__file__).parent / "results"
GOALS = {
    "fuse_parquet_ratio": "40",
    "fuse_csv_ratio": "12",
    "evaluate_csv_ratio": "7",
    "evaluate_parquet_ratio": "25",
    "look_up_s": "2",
    "objective_ms": "1",
    "objective_batch_ms": "0.3",
    "objective_ratio": "3.5",
    "objective_batch_ratio": "11.7",
    "objective_exact": "True",
    "peak_mib": "2,048",
}
# Fuses in a separate process and prints its peak memory (kB), file pages included.
PEAK = """
import sys
from pathlib import Path
from benchmarks.scoring import fuse_files
fuse_files([Path(name) for name in sys.argv[2:]], Path(sys.argv[1]))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@dataclass(frozen=True)
class Figures:
    """Ratios: the original's time / ours; of the objective, alone and in a batch: `lexsort_map`'s time / ours. Also:
    seconds to look up the judged pairs, ms per weight vector, alone and in a batch, and peak memory of fusion."""

    fuse_parquet_ratio: float
    fuse_csv_ratio: float
    evaluate_csv_ratio: float
    evaluate_parquet_ratio: float
    look_up_s: float
    objective_ms: float
    objective_batch_ms: float
    objective_ratio: float
    objective_batch_ratio: float
    objective_exact: bool
    peak_mib: float


def run(fraction: float = 0.02, json: bool = False, tables: bool = False) -> None:
    """Measure fusion, evaluation and objective; every result is compared with the original's.

    Args:
        fraction: Fraction of the 1,000 classes.
        json: Print one JSON object.
        tables: Also measure peers, growth and the search; write all to benchmarks/results/scoring.md.
    """
    if not 0 < fraction <= 1:
        raise SystemExit(f"--fraction is {fraction}; it must be above 0 and at most 1")

    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        print(line, file=sys.stderr, flush=True)

    world = World(max(1, round(CLASSES * fraction)))
    with tempfile.TemporaryDirectory() as folder:
        figures = asdict(measure(world, Path(folder), say))
    print(json_format.dumps(figures) if json else "\n".join(f"{name:24}{value}" for name, value in figures.items()))

    if tables:
        write_tables(figures, list(said), fraction, say)


def write_tables(figures: Mapping[str, float], said: list[str], fraction: float, say: Callable[[str], None]) -> None:
    """Write benchmarks/results/scoring.md; `said` are the lines that the measurements printed."""
    from benchmarks import formats, scoring_tables

    RESULTS.mkdir(exist_ok=True)
    measured = commit()  # before a picture is written
    with tempfile.TemporaryDirectory() as folder:
        sizes = scoring_tables.size_lines(Path(folder), peak_kib, say)
    with tempfile.TemporaryDirectory() as folder:
        from_files = list(formats.rows(Path(folder)))
    grown = list(scoring_tables.growth())
    scoring_tables.growth_picture(grown, RESULTS / "scoring-growth.png")
    text = [
        "# Scoring at competition size",
        "",
        f"`python -m benchmarks.scoring --fraction {fraction} --tables`: {World(1).members} generated members, "
        f"1,000 classes of which a fraction of {fraction} was run, {LENGTH:,} of 2.06 million segments per class.",
        "",
        f"{platform.machine()}, {os.cpu_count()} cores, {date.today()}, Python {platform.python_version()}, polars "
        f"{pl.__version__}, numpy {np.__version__}; commit {measured}.",
        "",
        *("| figure | value | goal |", "|---|--:|--:|"),
        *(f"| {name} | {value} | {GOALS[name]} |" for name, value in figures.items()),
        "",
        *(f"- {line}" for line in said),
        "",
        "## Peers",
        "",
        *scoring_tables.peers(say),
        "",
        "## From files of every format",
        "",
        f"Two members of {formats.DEPTH:,} documents per topic, read and written; the second call of a process.",
        "",
        *from_files,
        "",
        "## At full size",
        "",
        *sizes,
        "",
        "## How the cost grows",
        "",
        *scoring_tables.growth_lines(grown),
        "",
        "![growth](scoring-growth.png)",
        "",
        "## The search for weights",
        "",
        *scoring_tables.search_lines(fraction, say),
        "",
    ]
    (RESULTS / "scoring.md").write_text("\n".join(text))
    print(*text, sep="\n")
    say(f"written to {RESULTS / 'scoring.md'}")


def commit() -> str:
    """The commit that is measured, with `-dirty` if files differ from it."""
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True, check=True).stdout.strip()


def measure(world: World, folder: Path, say: Callable[[str], None] = lambda line: None) -> Figures:
    judgments, seconds = timed(lambda: world.write(folder))
    size = f"{world.classes} classes, {world.length:,} of {len(world.segments):,} segments"
    say(f"generated {world.members} members x {size} in {seconds:.0f} s")
    coded = [folder / name for name in world.names]
    csv = [folder / f"{name}.csv" for name in world.names]
    times = max(1, CLASSES // world.classes)
    fuse_parquet_ratio, fuse_csv_ratio = fuse_figures(world, folder, coded, csv, times, say)
    evaluate_csv_ratio, evaluate_parquet_ratio = evaluate_figures(world, judgments, folder, times, say)
    look_up_s, objective_ms, batch_ms, lexsort_ms, exact = objective_figures(open_submissions(coded), world, times, say)
    peaks = [peak_kib(paths, folder / f"peak{suffix}") for paths, suffix in ((coded, ""), (csv, ".csv"))]
    return Figures(
        fuse_parquet_ratio=round(fuse_parquet_ratio, 2),
        fuse_csv_ratio=round(fuse_csv_ratio, 2),
        evaluate_csv_ratio=round(evaluate_csv_ratio, 2),
        evaluate_parquet_ratio=round(evaluate_parquet_ratio, 2),
        look_up_s=round(look_up_s, 2),
        objective_ms=round(objective_ms, 3),
        objective_batch_ms=round(batch_ms, 3),
        objective_ratio=round(lexsort_ms / objective_ms, 2),
        objective_batch_ratio=round(lexsort_ms / batch_ms, 2),
        objective_exact=exact,
        peak_mib=round(max(peaks) / 1024, 1),
    )


def fuse_figures(
    world: World, folder: Path, coded: list[Path], csv: list[Path], times: int, say: Callable[[str], None]
) -> tuple[float, float]:
    """The notebook's time / ours, from Parquet to Parquet and from CSV to CSV."""
    weights = weights_for(world.names)
    given = list(weights.values())
    target = folder / "original.parquet"
    _, notebook = timed(lambda: originals.fuse_parquet(coded, given, MEMBER_K + 1, world.length, target))
    opening = repeated(lambda: [pl.read_parquet(path / "segments.parquet") for path in coded])
    memory = at_size(notebook, opening, times)
    fused = dict(pl.read_parquet(target).iter_rows())
    total = repeated(lambda: fuse_files(coded, folder / "fused", weights, world.length))
    _check_order(fused, open_submission(folder / "fused"), coded, weights)
    table = folder / "segments.parquet"
    once = repeated(lambda: open_submissions(coded)) + repeated(lambda: write_segments(world.segments, table))
    ours = at_size(total, once, times)
    say(f"fuse, Parquet: notebook {memory:.0f} s, ours {ours:.1f} s ({once:.3f} s for the table of segments)")

    target = folder / "original.csv"
    _, files = timed(lambda: originals.fuse_csv(csv, given, MEMBER_K + 1, world.length, target))
    from_csv = repeated(lambda: fuse_files(csv, folder / "fused.csv", weights, world.length))
    _check_order(fused, open_submission(folder / "fused.csv"), coded, weights)
    say(f"fuse, CSV: notebook {files * times:.0f} s, ours {from_csv * times:.1f} s")
    return memory / ours, files / from_csv


def evaluate_figures(
    world: World, judgments: pl.DataFrame, folder: Path, times: int, say: Callable[[str], None]
) -> tuple[float, float]:
    """The time of Google's evaluator on the CSV / ours, from CSV and from Parquet.

    The Parquet file has all classes: those of the world, each `times` times with different judged pairs.
    """
    name = world.names[0]
    coded, csv = folder / name, folder / f"{name}.csv"
    rows = judgments.rows()
    google = originals.evaluate_csv(csv, rows, world.length)
    for path in (csv, coded):
        value = evaluate_file(path, judgments, world.length)
        if abs(value - google) > 1e-12:
            raise ValueError(f"MAP of {path} is {value}, but {google} by Google's evaluator")
    original = repeated(lambda: originals.evaluate_csv(csv, rows, world.length)) * times
    from_csv = repeated(lambda: evaluate_file(csv, judgments, world.length)) * times

    every, all_judged = tiled({name: open_submission(coded)}, times)[name], tiled_judgments(world, times)
    write_blocks(read_blocks(every), world.segments, folder / "all")
    value = evaluate_file(folder / "all", all_judged, world.length)
    if value != map_of_blocks(parts(every), all_judged, world.length):
        raise ValueError("MAP of the written file differs from MAP of the lists in memory")
    ours = repeated(lambda: evaluate_file(folder / "all", all_judged, world.length))
    shutil.rmtree(folder / "all")
    say(f"evaluate: Google's {original:.1f} s, ours {from_csv:.2f} s from CSV, {ours:.2f} s from Parquet")
    return original / from_csv, original / ours


def at_size(total: float, once: float, times: int) -> float:
    """The seconds for all classes; `once`, for the table of segments, does not grow with their number."""
    return once + max(total - once, 0.0) * times


def fuse_files(
    paths: list[Path], target: Path, weights: Mapping[str, float] | None = None, cutoff: int = LENGTH
) -> None:
    sources = open_submissions(paths)
    segments = None if target.suffix else union_of_segments([source.segments for source in sources.values()])
    write_blocks(fuse_in_blocks(sources, weights=weights, k=MEMBER_K, cutoff=cutoff), segments, target)


def evaluate_file(path: Path, judgments: pl.DataFrame, cutoff: int) -> float:
    return map_of_blocks(parts(open_submission(path)), judgments, cutoff)


def map_of_blocks(blocks: Iterable[Part | Submission], judgments: pl.DataFrame, cutoff: int) -> float:
    judged = Judgments(judgments)
    return evaluate_ranks(*ranks_of_blocks(blocks, judged, cutoff), judged).map


def objective_figures(
    sources: Mapping[str, RankedLists], world: World, times: int, say: Callable[[str], None]
) -> tuple[float, float, float, float, bool]:
    """Seconds to look up judgments of the paper's size, ms per weight vector, alone, in a batch and by `lexsort_map`,
    and whether each MAP equals that of the full lists.

    Each class is there `times` times, with different judged pairs.
    """
    judgments = tiled_judgments(world, times)
    repeated_sources = tiled(sources, times)
    objective, look_up = timed(lambda: Objective.of(repeated_sources, Judgments(judgments), cutoff=world.length))
    say(f"objective: {len(objective.pairs):,} judged pairs looked up in {look_up:.1f} s")
    rng = np.random.default_rng(world.seed)
    proposals = [
        (dict(zip(world.names, row, strict=True)), k)
        for row, k in zip(rng.random((24, world.members)), np.geomspace(0.2, 500, 24), strict=True)
    ]
    exact = True
    for weights, k in proposals:  # the first use of a vector may read lists, to decide what the cutoff removes
        objective.map(weights, k)
    for weights, k in proposals[::8]:
        lists = {name: source.read(source.classes) for name, source in sources.items()}
        fused = {"fused": fuse(lists, weights, k, world.length)}
        whole = map_of_blocks(parts(tiled(fused, times)["fused"]), judgments, world.length)
        exact &= objective.map(weights, k) == whole
    laps = [timed(partial(objective.map, weights, k))[1] for weights, k in proposals]
    batch = np.array([list(weights.values()) for weights, _ in proposals])[:, np.argsort(world.names)]
    ks = np.array([k for _, k in proposals])
    together = objective.maps(batch, ks)
    seconds = repeated(lambda: objective.maps(batch, ks))
    alone = [objective.map(weights, k) for weights, k in proposals]
    exact &= together.tolist() == alone
    plain, spent = zip(
        *(timed(partial(lexsort_map, objective, *row)) for row in zip(batch, ks, strict=True)), strict=True
    )
    if not np.allclose(plain, alone, rtol=0, atol=0.01):  # without the cutoff, so nearly the same MAP
        raise ValueError(f"a plain lexsort gives the MAPs {plain}, the objective {alone}")
    lexsort_ms = 1e3 * statistics.median(spent)
    say(f"objective: {lexsort_ms:.2f} ms per vector by a lexsort in NumPy")
    say(f"objective: {1e3 * seconds / len(proposals):.2f} ms per vector for {len(proposals)} at once")
    say(f"objective: {1e3 * statistics.median(laps):.2f} ms, slowest {1e3 * max(laps):.2f} ms, exact: {exact}")
    return look_up, 1e3 * statistics.median(laps), 1e3 * seconds / len(proposals), lexsort_ms, exact


def lexsort_map(objective: Objective, weights: np.ndarray, k: float) -> float:
    """MAP of the members' weights in plain NumPy, without the cutoff: the peer of `Objective.map`."""
    scores = (weights[:, None] / weights.sum() / (k + objective.ranks)).sum(axis=0)
    order = np.lexsort((-scores, objective.rows))
    order = order[scores[order] > 0]
    rows, positive = objective.rows[order], objective.positive[order]
    first = np.searchsorted(rows, rows)  # of the class of each pair
    hits = np.cumsum(positive)
    hits -= (hits - positive)[first]
    precisions = hits[positive] / (np.arange(len(rows)) - first + 1)[positive]
    classes = len(objective.reach)
    sums = np.bincount(rows[positive], precisions, minlength=classes)
    return float(np.mean(sums / np.bincount(objective.rows[objective.positive], minlength=classes)))


def weights_for(names: list[str]) -> dict[str, float]:
    """Distinct weights, like those of a search."""
    return dict(zip(names, np.random.default_rng(7).uniform(1, 100, len(names)).tolist(), strict=True))


def peak_kib(paths: list[Path], target: Path) -> int:
    command = [sys.executable, "-c", PEAK, str(target), *map(str, paths)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _check_order(
    fused: Mapping[int, list[str]], ours: RankedLists, coded: list[Path], weights: Mapping[str, float]
) -> None:
    """ValueError unless every list has the original's order, except for equal scores."""
    shares = shares_of(weights, weights)
    members = open_submissions(coded)
    for class_id, expected in fused.items():
        block = ours.read([class_id])
        ((_, codes),) = block.ranked()
        ids = block.segments.gather(codes)
        different = np.flatnonzero((ids != pl.Series(expected)).to_numpy())
        if not len(different):
            continue
        scores: dict[str, float] = {}
        for name, share in shares.items():
            read = members[name].read([class_id])
            ((_, ranked),) = read.ranked()
            for segment, vote in zip(
                read.segments.gather(ranked).to_list(),
                (share / (MEMBER_K + np.arange(1, len(ranked) + 1))).tolist(),
                strict=True,
            ):
                scores[segment] = scores.get(segment, 0.0) + vote
        for row in different.tolist():
            one, other = scores[expected[row]], scores[ids[row]]
            if abs(one - other) > 1e-12 * one:
                raise ValueError(f"class {class_id}, rank {row + 1}: {expected[row]} or {ids[row]}; the orders differ")


def repeated(work: Callable[[], object]) -> float:
    """The median of REPEATS times."""
    return statistics.median(timed(work)[1] for _ in range(REPEATS))


if __name__ == "__main__":
    import tyro

    tyro.cli(run, prog="python -m benchmarks.scoring", config=(tyro.conf.FlagCreatePairsOff,))
