"""The baselines for the speed of scoring, in plain Python like the originals.

The original notebook fuses each class with a dict of strings. Google's evaluator for the competition looks up every id
of the CSV in a dict of judgments.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl


def fuse_lists(lists: Sequence[Sequence[str]], weights: Sequence[float], w0: float, cutoff: int) -> list[str]:
    """The notebook's fusion of a class: position i, from 0, adds weight * w0 / (i + w0); stable order."""
    scores: dict[str, float] = {}
    for ids, weight in zip(lists, weights, strict=True):
        for i, segment in enumerate(ids):
            scores[segment] = scores.get(segment, 0.0) + weight * w0 / (i + w0)
    return sorted(scores, key=scores.__getitem__, reverse=True)[:cutoff]


def fuse_parquet(folders: Sequence[Path], weights: Sequence[float], w0: float, cutoff: int, target: Path) -> None:
    """The notebook from coded Parquet to Parquet: ids are looked up, fused class by class, and written as text."""
    segments = [pl.read_parquet(folder / "segments.parquet")["segment_id"] for folder in folders]
    lists = [pl.read_parquet(folder / "lists.parquet") for folder in folders]
    fused: dict[str, list] = {"class_id": [], "segments": []}
    for row, class_id in enumerate(lists[0]["class_id"]):
        ids = [table.gather(member["segments"][row]).to_list() for table, member in zip(segments, lists, strict=True)]
        fused["class_id"].append(class_id)
        fused["segments"].append(fuse_lists(ids, weights, w0, cutoff))
    pl.DataFrame(fused).write_parquet(target)


def fuse_csv(paths: Sequence[Path], weights: Sequence[float], w0: float, cutoff: int, target: Path) -> None:
    """The notebook from CSV to CSV: all files in memory, aligned by row after sorting by the class as text."""
    rows = [sorted(read_csv(path).items()) for path in paths]
    with target.open("w") as out:
        out.write("Class,Segments\n")
        for row in zip(*rows, strict=True):
            fused = fuse_lists([ids.split(" ") for _, ids in row], weights, w0, cutoff)
            out.write(f"{row[0][0]},{' '.join(fused)}\n")


def read_csv(path: Path) -> dict[str, str]:
    """The segments of each class, as text."""
    with path.open() as file:
        next(file)
        return dict(line.rstrip("\n").split(",") for line in file)


def evaluate_csv(path: Path, judgments: Iterable[tuple[int, str, int]], cutoff: int) -> float:
    """Google's evaluator: cut at `cutoff`, drop unjudged segments, AP over all positives of each class, mean."""
    truth = {(segment, class_id): relevance for class_id, segment, relevance in judgments}
    positives: dict[int, int] = {}
    for (_, class_id), relevance in truth.items():
        positives[class_id] = positives.get(class_id, 0) + (relevance > 0)
    precisions = []
    with path.open() as file:
        for line in file:
            name, ids = line.rstrip("\n").split(",")
            if name == "Class":
                continue
            class_id = int(name)
            segments = ids.split(" ")[:cutoff]
            judged = [segment for segment in segments if (segment, int(name)) in truth]  # int() per id, as the script
            if positives.get(class_id, 0):
                relevances = [truth[segment, class_id] for segment in judged]
                precisions.append(_average_precision(relevances, positives[class_id]))
    return sum(precisions) / len(precisions)


def _average_precision(relevances: Sequence[int], positives: int) -> float:
    hits, total = 0, 0.0
    for rank, relevance in enumerate(relevances, start=1):
        if relevance > 0:
            hits += 1
            total += hits / rank
    return total / positives
