"""The long form in Parquet: one row (class_id, segment_id, rank) per listed segment, rows in any order."""

from pathlib import Path

import polars as pl

from scoring.lists.ids import check_segments, code_ids
from scoring.lists.parquet import class_ids, parquet_schema, read_parquet, schema_text, whole
from scoring.lists.ranked import Repeats, Submission, class_slices, from_repeating
from scoring.lists.text import brief

COLUMNS = ("class_id", "segment_id", "rank")


def read_long(path: Path) -> Submission:
    """Read the long form. Class ids are integers or text, segment ids text or categorical, ranks whole numbers."""
    schema = parquet_schema(path)
    if missing := [name for name in COLUMNS if name not in schema]:
        columns = brief(str(list(schema)))
        raise ValueError(f"{path} lacks {missing}; the long form has class_id, segment_id, rank, it has {columns}")
    rows = read_parquet(pl.scan_parquet(path).select(COLUMNS), path)
    if not rows.height:
        raise ValueError(f"{path} contains no classes; give each segment a row class_id, segment_id, rank")
    try:
        if rows["segment_id"].dtype == pl.Binary or rows["segment_id"].dtype.is_nested():
            raise pl.exceptions.InvalidOperationError("segment_id is no text")
        ids, ranks = rows["segment_id"].cast(pl.String), whole(rows["rank"], pl.UInt32)
    except pl.exceptions.PolarsError as error:
        raise ValueError(
            f"{path} has the columns {schema_text(schema)}; the long form has class_id (integers or text), segment_id "
            "(text) and rank (whole numbers from 0)"
        ) from error
    classes = class_ids(rows["class_id"], path)
    listed = ids.is_not_null() & ranks.is_not_null()
    if not (listed | (ids.is_null() & ranks.is_null())).all():
        raise ValueError(f"{path} has rows with a null; give class_id, segment_id and rank in each")
    (codes,), segments = code_ids([ids.filter(listed)])
    check_segments(segments.head(1), str(path))
    table = pl.DataFrame({"class_id": classes.filter(listed), "rank": ranks.filter(listed), "code": codes})
    table = table.sort("class_id", "rank")
    repeated = (table["rank"] == table["rank"].shift(1)) & (table["class_id"] == table["class_id"].shift(1))
    if repeated.any():
        class_id, rank, _ = table.row(int(repeated.arg_max() or 0))
        raise ValueError(f"{path}: class {class_id} has the rank {rank} twice; number its segments 1, 2, 3, ...")
    ranked, class_rows = table["code"].to_numpy(), class_slices(table["class_id"])
    lists = {class_id: ranked[class_rows.get(class_id, slice(0))] for class_id in classes.unique().sort()}
    return from_repeating(lists, segments, Repeats(str(path)))
