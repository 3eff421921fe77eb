"""Small text tables: vocabularies, lists of classes, events."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl


def read_table(path: Path, columns: Sequence[str], separator: str = ",") -> pl.DataFrame:
    """A CSV or TSV with a header and at least `columns`, all strings; ValueError if the file is anything else."""
    if not path.is_file():
        raise ValueError(f"{path} is missing; check the path (docs/data.md lists the files)")
    quote = '"' if separator == "," else None
    try:
        table = pl.read_csv(path, separator=separator, quote_char=quote, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} cannot be read as a table: {reason}; it needs a header and a line a row") from None
    if missing := [column for column in columns if column not in table.columns]:
        raise ValueError(f"{path} lacks the column {', '.join(missing)}; it has {', '.join(table.columns)}")
    return table


def read_vocabulary(path: Path, index: str, names: Sequence[str]) -> list[str]:
    """Class names by class id, from a CSV with the ids in the column `index`.

    A name is the first non-empty value of the columns `names`, otherwise the id. Only the first column is required.
    """
    table = read_table(path, [index, names[0]])
    table = table.with_columns(_class_ids(table, index, path)).sort(index)
    if table[index].to_list() != list(range(len(table))) or table.is_empty():
        raise ValueError(f"{path} does not number its classes 0, 1, 2, ... without a gap in the column {index}")
    columns = [name for name in names if name in table.columns]
    return table.select(pl.coalesce(*columns, pl.col(index).cast(pl.String))).to_series().to_list()


def read_class_list(path: Path, classes: int) -> list[int]:
    """The class ids in the column `Index` of a CSV, ascending; ValueError if one is not below `classes`."""
    scored = _class_ids(read_table(path, ["Index"]), "Index", path).unique().sort().to_list()
    if not scored:
        raise ValueError(f"{path} lists no class; omit it to score all rated classes")
    if not 0 <= scored[0] <= scored[-1] < classes:
        raise ValueError(f"{path} lists a class outside the vocabulary of {classes}; give its --vocabulary")
    return scored


def _class_ids(table: pl.DataFrame, column: str, path: Path) -> pl.Series:
    ids = table[column].cast(pl.Int64, strict=False)
    if ids.null_count():
        raise ValueError(f"{path} holds a class id that is not a number, in the column {column}")
    return ids
