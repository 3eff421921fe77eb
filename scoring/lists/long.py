"""The long form in Parquet: one row (class_id, segment_id, rank) per listed segment."""

from pathlib import Path

import polars as pl

from scoring.lists.ids import NO_SEGMENTS
from scoring.lists.parquet import _parquet_schema, _read_parquet, _words
from scoring.lists.ranked import Submission, from_ids
from scoring.lists.text import brief, reason

LONG = pl.Schema({"class_id": pl.UInt16, "segment_id": pl.String, "rank": pl.UInt32})


def _read_long(path: Path) -> Submission:
    schema = _parquet_schema(path)
    if missing := [name for name in LONG if name not in schema]:
        columns = brief(str(list(schema)))
        raise ValueError(f"{path} lacks {missing}; the long form has class_id, segment_id, rank, it has {columns}")
    if not (schema["class_id"].is_integer() and schema["segment_id"] == pl.String and schema["rank"].is_integer()):
        raise ValueError(f"{path} has the columns {_words(schema)}; the long form has {_words(LONG)}")
    try:
        rows = _read_parquet(pl.scan_parquet(path).select(LONG.names()), path).cast(LONG)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{path}: a class_id or rank is too large or negative ({reason(error)})") from error
    empty = rows.filter(pl.col("segment_id").is_null() & pl.col("rank").is_null())
    listed = rows.filter(pl.col("segment_id").is_not_null() & pl.col("rank").is_not_null()).sort("class_id", "rank")
    if rows["class_id"].null_count() or len(empty) + len(listed) < len(rows):
        raise ValueError(f"{path} has rows with a null; give class_id, segment_id and rank in each")
    if not rows.height:
        raise ValueError(f"{path} holds no classes")
    twice = listed.select("class_id", "rank").filter(listed.select("class_id", "rank").is_duplicated())
    if twice.height:
        class_id, rank = twice.row(0)
        raise ValueError(f"{path}: class {class_id} gives the rank twice, {rank}; number its segments 1, 2, 3, ...")
    lists = {
        class_id: part["segment_id"] for (class_id,), part in listed.partition_by("class_id", as_dict=True).items()
    }
    classes = rows["class_id"].unique().to_list()
    return from_ids({class_id: lists.get(class_id, NO_SEGMENTS) for class_id in classes}, str(path))
