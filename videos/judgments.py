"""Judgments as a table."""

import polars as pl

JUDGMENTS = pl.Schema({"class_id": pl.UInt16, "segment_id": pl.String, "relevance": pl.Int16})


def last_of_pairs(judgments: pl.DataFrame) -> pl.DataFrame:
    """Each (class, segment) once, with the last of its relevances, sorted by class and segment."""
    return judgments.unique(["class_id", "segment_id"], keep="last", maintain_order=True).sort("class_id", "segment_id")


def rows_by_class(pairs: pl.DataFrame) -> dict[int, slice]:
    """Where the pairs of each class stand in a table that is sorted by class."""
    classes, counts = pairs["class_id"].rle().struct.unnest().select("value", "len").get_columns()
    ends = counts.cum_sum().to_list()
    starts = [0, *ends[:-1]]
    return dict(zip(classes.to_list(), map(slice, starts, ends), strict=True))
