"""Read Parquet files; what is damaged is a ValueError that names the file."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import polars as pl

from scoring.lists.text import brief, reason

T = TypeVar("T")


def _parquet_schema(path: Path) -> pl.Schema:
    return _refusing(path, lambda: pl.Schema(pl.read_parquet_schema(path)))


def _read_parquet(scan: pl.LazyFrame, path: Path) -> pl.DataFrame:
    return _refusing(path, scan.collect)


def _refusing(path: Path, read: Callable[[], T]) -> T:
    from pyarrow import ArrowException

    try:
        return read()
    # pyarrow tells damaged pages by an OSError, polars now and then by a panic.
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet ({reason(error)}); write it again") from error


def _words(schema: pl.Schema) -> str:
    return brief(", ".join(f"{name} {dtype}" for name, dtype in schema.items()))
