"""Read judgments from files: CSV, Parquet, TREC qrels."""

import logging
from pathlib import Path

import polars as pl

from scoring.lists import trec
from scoring.lists.opening import Format
from scoring.lists.text import brief, read_text, reason
from videos.judgments import JUDGMENTS, Judgments

log = logging.getLogger(__name__)


def read_judgments(path: Path, format: Format | None = None) -> Judgments:
    """Read judgments: columns class_id, segment_id and relevance.

    A CSV with these columns (`.csv`, `.csv.gz`), a Parquet file with them, or TREC qrels (format "trec"). Of a pair
    given twice the last counts; a line in the log counts these. Raises ValueError, naming the file and the remedy, for
    everything else.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is no file; give the path of the judgments")
    if format == "trec" and not path.name.endswith((".parquet", ".csv", ".csv.gz")):
        rows = trec.read_qrels(path)
    elif path.suffix == ".parquet":
        rows = _columns(_parquet(path), path)
    elif path.name.endswith((".csv", ".csv.gz")):
        rows = _columns(_csv(path), path)
    else:
        raise ValueError(f"{path} has no known format; name it .csv, .csv.gz or .parquet, or say --format trec")
    if not rows.height:
        raise ValueError(f"{path} holds no judgments; give a row class_id, segment_id, relevance for each judged pair")
    try:
        judgments = Judgments(rows)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if repeats := rows.height - judgments.pairs.height:
        log.warning("%s: %d rows judge a pair again; the last judgment of a pair holds", path, repeats)
    return judgments


def _parquet(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet ({reason(error)}); write it again") from error


def _csv(path: Path) -> pl.DataFrame:
    text = read_text(path)
    try:
        return pl.read_csv(text.encode(), infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise ValueError(
            f"{path} cannot be read as CSV ({reason(error)}); write {','.join(JUDGMENTS)} in lines ended by LF or CRLF"
        ) from error


def _columns(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    if missing := [name for name in JUDGMENTS if name not in table.columns]:
        columns = brief(str(table.columns))
        raise ValueError(f"{path} lacks {missing}, it has {columns}; judgments are {', '.join(JUDGMENTS)}")
    # A blank line of a CSV is a row without anything.
    table = table.select(JUDGMENTS.names()).with_row_index("row", offset=1)
    table = table.filter(~pl.all_horizontal(pl.col(name).is_null() for name in JUDGMENTS))
    rows = table.select(pl.col(name).cast(dtype, strict=False) for name, dtype in JUDGMENTS.items())
    for name, dtype in JUDGMENTS.items():
        given = table[name]
        if rows[name].null_count():
            row = rows[name].is_null().arg_true()[0]
            value = given[row] if given[row] is None else brief(str(given[row]))
            raise ValueError(f"{path}, row {table['row'][row]}: {name} is {value!r}, which is no {dtype}; correct it")
        if dtype.is_integer() and given.dtype.is_float() and not (given == rows[name]).all():
            raise ValueError(f"{path}: {name} holds fractions; write integers")
    ids = rows["segment_id"]
    if (around := (ids != ids.str.strip_chars()) | (ids == "")).any():
        row = around.arg_true()[0]
        raise ValueError(
            f"{path}, row {table['row'][row]}: segment_id is {brief(ids[row])!r}, empty or with blanks around it; "
            "no list holds that, correct it"
        )
    return rows
