"""Fuse and evaluate the same lists from files of every format, and by ranx and ir_measures from the same TREC files.

Each row is measured in a process of its own, at the second call: the first one compiles, here and in ranx. A member has
ids of its own, so no two members have equal tables of segments.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.timing import timed
from scoring.fusion.workers import fuse_in_blocks
from scoring.lists.ids import code_ids, union_of_segments
from scoring.lists.judgments import read_judgments
from scoring.lists.opening import open_submission, open_submissions
from scoring.lists.ranked import from_codes, parts
from scoring.lists.writing import is_run, write_blocks, write_submission
from scoring.measures.average_precision import evaluate_ranks, ranks_of_blocks

TOPICS = (50, 400, 1_000)
DEPTH = 1_000  # documents per topic and run
MEMBERS = ("one", "two")
FORMATS = {"TREC run": ".run", "Kaggle CSV": ".csv", "long Parquet": ".parquet", "coded": ""}
RRF_K = 60.0


@dataclass(frozen=True)
class Cost:
    """Seconds of the second call, peak memory of the process, and the MAP (evaluate) or the number of lines (fuse)."""

    seconds: float
    peak_mib: float
    result: float


def write_files(folder: Path, topics: int, depth: int = DEPTH) -> None:
    """Two members in every format, and qrels.txt with 100 judged documents per topic."""
    rng = np.random.default_rng(0)
    judged = []
    for member in MEMBERS:
        lists = {topic: _documents(topic, rng.permutation(3 * depth)[:depth]) for topic in range(1, topics + 1)}
        codes, segments = code_ids(list(lists.values()))
        submission = from_codes(dict(zip(lists, codes, strict=True)), segments)
        for suffix in FORMATS.values():
            write_submission(submission, folder / f"{member}{suffix}")
    for topic in range(1, topics + 1):
        documents = _documents(topic, rng.permutation(3 * depth)[:100])
        judged += [f"{topic} 0 {document} {int(rng.random() < 0.3)}" for document in documents]
    (folder / "qrels.txt").write_text("\n".join(judged) + "\n")


def _documents(topic: int, numbers: np.ndarray) -> pl.Series:
    return pl.Series("document", [f"clueweb09-en{topic % 100:04}-{n % 100:02}-{topic:04}{n:05}" for n in numbers])


def ours(task: str, folder: Path, suffix: str) -> float:
    paths = [folder / f"{member}{suffix}" for member in MEMBERS]
    if task == "evaluate":
        judgments = read_judgments(folder / "qrels.txt")
        return evaluate_ranks(*ranks_of_blocks(parts(open_submission(paths[0])), judgments), judgments).map
    sources, out = open_submissions(paths), folder / f"fused{suffix}"
    segments = None if suffix else union_of_segments([source.segments for source in sources.values()])
    blocks = fuse_in_blocks(sources, weights=None, k=RRF_K, cutoff=2 * DEPTH, keep_scores=is_run(out))
    write_blocks(blocks, segments, out)
    return sum(block.lists["segments"].list.len().sum() for block in _blocks(out))


def _blocks(path: Path) -> Iterator:
    lists = open_submission(path)
    yield lists.read(lists.classes)


def ranx(task: str, folder: Path, suffix: str) -> float:
    import ranx

    runs = [ranx.Run.from_file(str(folder / f"{member}{suffix}"), kind="trec") for member in MEMBERS]
    if task == "evaluate":
        qrels = ranx.Qrels.from_file(str(folder / "qrels.txt"), kind="trec")
        return float(ranx.evaluate(qrels, runs[0], "map", make_comparable=True))  # pyright: ignore[reportArgumentType]
    fused = ranx.fuse(runs=runs, method="rrf", params={"k": RRF_K})
    fused.save(str(folder / "ranx.run"), kind="trec")
    return sum(map(len, fused.run.values()))


def ir_measures(task: str, folder: Path, suffix: str) -> float:
    import ir_measures

    measure = ir_measures.AP(judged_only=True)
    qrels = list(ir_measures.read_trec_qrels(str(folder / "qrels.txt")))
    run = ir_measures.read_trec_run(str(folder / f"{MEMBERS[0]}{suffix}"))
    return float(ir_measures.calc_aggregate([measure], qrels, run)[measure])


TOOLS: dict[str, Callable[[str, Path, str], float]] = {"ours": ours, "ranx": ranx, "ir_measures": ir_measures}


def cost(tool: str, task: str, folder: Path, suffix: str) -> Cost:
    """Measure in a new process."""
    command = [sys.executable, "-m", "benchmarks.formats", tool, task, str(folder), suffix]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def rows(folder: Path, sizes: Sequence[int] = TOPICS, *, depth: int = DEPTH) -> Iterator[str]:
    """Lines of a table: each format and peer at each number of topics; ValueError if MAPs differ."""
    yield "| topics | task | from | tool | seconds | times ours | peak memory, MiB |"
    yield "|--:|---|---|---|--:|--:|--:|"
    for topics in sizes:
        write_files(folder, topics, depth)
        for task, peers in {"fuse": ["ranx"], "evaluate": ["ranx", "ir_measures"]}.items():
            ours = {name: cost("ours", task, folder, suffix) for name, suffix in FORMATS.items()}
            measured = {(name, "ours"): one for name, one in ours.items()}
            measured |= {("TREC run", peer): cost(peer, task, folder, ".run") for peer in peers}
            for (name, tool), one in measured.items():
                expected = ours["TREC run"].result
                # ranx averages precision over all documents, so its MAP is another one.
                if (tool, task) != ("ranx", "evaluate") and abs(one.result - expected) > 1e-6:
                    raise ValueError(f"{tool} from {name}: {task} gives {one.result}, but {expected} from TREC runs")
                ratio = one.seconds / ours[name].seconds
                figures = f"{one.seconds:.2f} | {ratio:.1f} | {one.peak_mib:,.0f}"
                yield f"| {topics:,} | {task} | {name} | {tool} | {figures} |"


def _run(tool: str, task: str, folder: str, suffix: str) -> None:
    TOOLS[tool](task, Path(folder), suffix)
    result, seconds = timed(lambda: TOOLS[tool](task, Path(folder), suffix))
    peak = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    print(json.dumps({"seconds": seconds, "peak_mib": int(peak) / 1024, "result": float(result)}))


if __name__ == "__main__":
    _run(*sys.argv[1:])
