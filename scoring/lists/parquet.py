"""Read Parquet files; a damaged file is a ValueError with its name."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import polars as pl
from polars.datatypes import DataTypeClass

from scoring.lists.classes import class_column
from scoring.lists.text import brief, reason

T = TypeVar("T")


def is_parquet(path: Path) -> bool:
    """Whether a file begins as Parquet does."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def parquet_schema(path: Path) -> pl.Schema:
    return refusing(path, lambda: pl.Schema(pl.read_parquet_schema(path)))


def read_parquet(scan: pl.LazyFrame, path: Path) -> pl.DataFrame:
    return refusing(path, scan.collect)


def refusing(path: Path, read: Callable[[], T]) -> T:
    """The result of `read`; ValueError with the file's name if the file is damaged."""
    from pyarrow import ArrowException

    try:
        return read()
    # Damaged pages are an OSError of pyarrow, and sometimes a panic of polars.
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet ({reason(error)}); write it again") from error


def class_ids(column: pl.Series, path: Path) -> pl.Series:
    """A column of integers, whole floats, text or categories as class ids (`classes.py`)."""
    if column.null_count():
        raise ValueError(f"{path} has a row without class_id; give each row its class")
    try:
        if column.dtype.is_float():
            column = whole(column, pl.Int64)
        elif not (column.dtype.is_integer() or column.dtype in (pl.String, pl.Categorical, pl.Enum)):
            raise ValueError(f"{path}: class_id is {column.dtype}; write integers or text")
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{path}: class_id contains fractions; write integers or text") from error
    # Compared as floats: 65535 overflows a column of bytes.
    if column.dtype.is_integer() and column.cast(pl.Float64).is_between(0, 65535).all():
        return column.cast(pl.UInt16)
    return class_column(column.cast(pl.String))


def whole(numbers: pl.Series, dtype: DataTypeClass) -> pl.Series:
    """Integers, or floats without a fraction, cast to `dtype`; PolarsError for all others."""
    if not numbers.dtype.is_numeric():
        raise pl.exceptions.InvalidOperationError(f"{numbers.name} is {numbers.dtype}")
    integers = numbers.cast(dtype)
    if numbers.dtype.is_float() and not (numbers == integers).all():
        raise pl.exceptions.InvalidOperationError(f"{numbers.name} contains fractions")
    return integers


def schema_text(schema: pl.Schema) -> str:
    return brief(", ".join(f"{name} {dtype}" for name, dtype in schema.items()))
