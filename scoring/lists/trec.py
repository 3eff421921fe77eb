"""TREC runs (`topic Q0 document rank score tag`) and judgments (`topic 0 document relevance`), plain or gzip.

The topic is the class, the document the segment.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl
from polars.datatypes import DataTypeClass

from scoring.lists.text import brief, read_text

log = logging.getLogger(__name__)


def read_run(path: Path) -> dict[int, pl.Series]:
    """Documents of each topic, ordered as trec_eval orders them, whatever the rank column says.

    Scores are compared as float32, descending; equal ones by the document id's bytes, descending.
    """
    fields = _fields(path, 6, "topic Q0 document rank score tag")
    rows = pl.DataFrame(
        {
            "class_id": _integers(fields, 0, pl.UInt16, path, "topic"),
            "segment_id": fields["field_2"],
            "score": _numbers(fields, 4, path, "score").cast(pl.Float32),
        }
    ).sort("class_id", "score", "segment_id", descending=[False, True, True])
    return {class_id: part["segment_id"] for (class_id,), part in rows.partition_by("class_id", as_dict=True).items()}


def write_run(lists: Iterable[tuple[int, pl.Series]], path: Path) -> None:
    """Write (topic, documents best first); scores fall by 1 from place to place, so that everybody reads this order.

    A topic with nothing retrieved has no line in a TREC run; a line in the log counts these. ValueError for an id that
    holds white space.
    """
    empty = 0
    with open(path, "w", encoding="utf-8") as run:
        for topic, documents in lists:
            if documents.str.contains(r"\s").any():
                raise ValueError(f"topic {topic} lists an id with white space, which no TREC run can hold; use CSV")
            count = len(documents)
            empty += count == 0
            run.writelines(
                f"{topic} Q0 {document} {place} {count - place} fused\n" for place, document in enumerate(documents)
            )
    if empty:
        log.warning("%d topics have nothing retrieved, which no TREC run can say; they are left out", empty)


def read_qrels(path: Path) -> pl.DataFrame:
    """The rows of a TREC judgments file: class_id u16, segment_id str, relevance i16."""
    fields = _fields(path, 4, "topic 0 document relevance")
    return pl.DataFrame(
        {
            "class_id": _integers(fields, 0, pl.UInt16, path, "topic"),
            "segment_id": fields["field_2"],
            "relevance": _integers(fields, 3, pl.Int16, path, "relevance"),
        }
    )


def _fields(path: Path, count: int, meaning: str) -> pl.DataFrame:
    """Every line that is not blank, split at white space: the columns field_0, field_1, ... and the line's number."""
    lines = pl.Series("line", read_text(path).split("\n")).to_frame().with_row_index("number", offset=1)
    words = lines.with_columns(pl.col("line").str.extract_all(r"\S+")).filter(pl.col("line").list.len() > 0)
    wrong = words.filter(pl.col("line").list.len() != count)
    if wrong.height:
        number, fields = wrong.row(0)
        raise ValueError(f"{path}, line {number} has {len(fields)} fields; a line is `{meaning}`")
    if not words.height:
        raise ValueError(f"{path} holds no lines; a line is `{meaning}`")
    return words.select("number", *(pl.col("line").list.get(i).alias(f"field_{i}") for i in range(count)))


def _integers(fields: pl.DataFrame, column: int, dtype: DataTypeClass, path: Path, name: str) -> pl.Series:
    return _cast(fields, column, dtype, path, f"{name} is no integer that fits {dtype}")


def _numbers(fields: pl.DataFrame, column: int, path: Path, name: str) -> pl.Series:
    numbers = _cast(fields, column, pl.Float64, path, f"{name} is no number")
    if numbers.is_nan().any():
        number = fields["number"][int(np.flatnonzero(numbers.is_nan())[0])]
        raise ValueError(f"{path}, line {number}: {name} is NaN; a run needs numbers to rank by")
    return numbers


def _cast(fields: pl.DataFrame, column: int, dtype: DataTypeClass, path: Path, complaint: str) -> pl.Series:
    text = fields[f"field_{column}"]
    values = text.cast(dtype, strict=False)
    if values.null_count():
        row = int(np.flatnonzero(values.is_null())[0])
        raise ValueError(f"{path}, line {fields['number'][row]}: the {complaint} ({brief(text[row])!r}); correct it")
    return values
