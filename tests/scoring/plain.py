"""An independent reading of submissions and judgments, and fusion and MAP on it: plain Python, no code of ours.

Classes are text (`1.0` of a table is `1`); a list is its distinct ids, best first. What cannot be read raises.
"""

import csv
import gzip
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

Lists = dict[str, list[str]]


def read_lists(path: Path) -> Lists:
    if path.is_dir():
        return _coded(path / "lists.parquet")
    if path.suffix == ".parquet":
        return _coded(path) if "segments" in pl.read_parquet_schema(path) else _long(path)
    return _kaggle(_text(path)) if path.name.endswith((".csv", ".csv.gz")) else _run(_text(path))


def read_judgments(path: Path) -> dict[tuple[str, str], int]:
    """The last relevance of each pair, without those below 0."""
    if path.suffix == ".parquet":
        rows = pl.read_parquet(path).select("class_id", "segment_id", "relevance").rows()
    elif path.name.endswith((".csv", ".csv.gz")):
        table = csv.DictReader(io.StringIO(_text(path).decode("utf-8-sig"), newline=""))
        rows = [(row["class_id"], row["segment_id"], row["relevance"]) for row in table]
    else:
        rows = [(topic, document, grade) for topic, _, document, grade in _fields(_text(path))]
    judged = {(_name(class_id), str(segment)): float(relevance) for class_id, segment, relevance in rows}
    assert all(relevance.is_integer() for relevance in judged.values()), "a relevance with a fraction"
    return {pair: int(relevance) for pair, relevance in judged.items() if relevance >= 0}


def fuse(members: Mapping[str, Lists], k: float, cutoff: int) -> Lists:
    """Reciprocal-rank fusion with equal weights; equal scores order by the bytes of the id."""
    fused = {}
    for class_id in set().union(*members.values()):
        scores: dict[str, float] = {}
        for name in sorted(members):
            for rank, segment in enumerate(members[name].get(class_id, []), start=1):
                scores[segment] = scores.get(segment, 0.0) + 1 / len(members) / (k + rank)
        fused[class_id] = sorted(scores, key=lambda segment: (-scores[segment], segment.encode()))[:cutoff]
    return fused


def mean_average_precision(lists: Lists, judged: Mapping[tuple[str, str], int]) -> float:
    precisions = []
    for class_id in {class_id for (class_id, _), relevance in judged.items() if relevance > 0}:
        grades = [judged[class_id, segment] > 0 for segment in lists.get(class_id, []) if (class_id, segment) in judged]
        positives = sum(relevance > 0 for (own, _), relevance in judged.items() if own == class_id)
        precisions.append(sum(np.cumsum(grades)[i] / (i + 1) for i in range(len(grades)) if grades[i]) / positives)
    return float(np.mean(precisions))


def _text(path: Path) -> bytes:
    content = path.read_bytes()
    content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    content.decode()
    return content


def _name(class_id: object) -> str:
    return str(int(class_id)) if isinstance(class_id, float) and class_id.is_integer() else str(class_id)


def _once(ids: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(ids))


def _kaggle(content: bytes) -> Lists:
    def bare(field: str) -> str:
        field = field.strip(" \r")
        return field[1:-1].strip(" \r") if len(field) > 1 and field[0] == field[-1] == '"' else field

    lists = {}
    for line in content.decode("utf-8-sig").split("\n")[1:]:
        if line.strip(" \r"):
            name, _, ids = line.partition(",")
            assert bare(name) not in lists, "a class on two lines"
            lists[bare(name)] = _once([segment for segment in bare(ids).split(" ") if segment])
    return lists


def _fields(content: bytes) -> list[list[str]]:
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return [[field.decode() for field in line.split()] for line in lines if line.split()]


def _run(content: bytes) -> Lists:
    rows: dict[str, list] = {}
    for topic, _, document, _, score, _ in _fields(content):
        with np.errstate(over="ignore"):
            rows.setdefault(topic, []).append((np.float32(float(score)), document.encode()))
    return {topic: _once([d.decode() for _, d in sorted(own, reverse=True)]) for topic, own in rows.items()}


def _long(path: Path) -> Lists:
    rows: dict[str, list] = {}
    for class_id, segment, rank in pl.read_parquet(path).select("class_id", "segment_id", "rank").rows():
        assert class_id is not None, "no class"
        own = rows.setdefault(_name(class_id), [])
        if segment is not None:
            own.append((float(rank), str(segment)))
    return {class_id: _once([segment for _, segment in sorted(own)]) for class_id, own in rows.items()}


def _coded(path: Path) -> Lists:
    table = pl.read_parquet(path.parent / "segments.parquet")["segment_id"].to_list()
    rows = pl.read_parquet(path).select("class_id", "segments").rows()
    assert len({class_id for class_id, _ in rows}) == len(rows), "a class in two rows"
    # polars reads an empty list of a damaged page as a list of one null.
    return {_name(class_id): _once([table[code] for code in codes if code is not None]) for class_id, codes in rows}
