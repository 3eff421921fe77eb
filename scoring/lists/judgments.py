"""Read judgments from files: CSV, Parquet, TREC qrels."""

import logging
from pathlib import Path

import polars as pl

from scoring.lists import trec
from scoring.lists.opening import Format
from scoring.lists.parquet import class_ids, is_parquet, read_parquet
from scoring.lists.streams import local_file
from scoring.lists.text import brief, map_text, read_text, reason
from terminal.cli import counted
from videos.judgments import JUDGMENTS, Judgments

log = logging.getLogger(__name__)

SUFFIXES = {".parquet": "parquet", ".csv": "csv", ".csv.gz": "csv", ".qrels": "trec", ".qrels.gz": "trec"}


def read_judgments(path: Path, format: Format | None = None) -> Judgments:
    """Read judgments: a Parquet file or CSV with the columns class_id, segment_id and relevance, or TREC qrels.

    They are known by the suffix (.parquet; .csv, .csv.gz; .qrels, .qrels.gz), otherwise by the first bytes; `-` is
    standard input. A relevance below 0 is unjudged, as in
    trec_eval. If a pair is repeated, its last judgment counts and a warning is logged. ValueError, with the file's
    name and the remedy, for everything else.
    """
    path = local_file(Path(path))
    if path.is_dir() or not path.exists():
        raise ValueError(f"{path} is no file; give the path of the judgments")
    kind = next((kind for suffix, kind in SUFFIXES.items() if path.name.endswith(suffix)), format) or _kind(path)
    if kind == "parquet":
        rows = _columns(read_parquet(pl.scan_parquet(path), path), path)
    elif kind == "csv":
        rows = _columns(_csv(path), path)
    elif kind == "trec":
        rows = trec.read_qrels(path)
    else:
        raise ValueError(f"{path} has no known format; name it .csv, .csv.gz or .parquet, or say --format trec")
    if not rows.height:
        raise ValueError(f"{path} has no judgments; give a row class_id, segment_id, relevance for each judged pair")
    if repeats := rows.height - rows.n_unique(["class_id", "segment_id"]):
        log.warning("%s: %s of a judged pair; the last judgment of a pair counts", path, counted(repeats, "repetition"))
    try:
        return Judgments(rows)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


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
    # A blank line of a CSV is a row of nulls.
    table = table.select(JUDGMENTS.names()).with_row_index("row", offset=1)
    table = table.filter(~pl.all_horizontal(pl.col(name).is_null() for name in JUDGMENTS))
    for name in ("segment_id", "relevance"):
        if table[name].dtype.is_nested() or table[name].dtype == pl.Binary:
            raise ValueError(f"{path}: {name} is {table[name].dtype}; write text and whole numbers")
    ids = table["segment_id"].cast(pl.String, strict=False)
    numbers = table["relevance"].cast(pl.String).cast(pl.Float64, strict=False)
    relevance = numbers.cast(JUDGMENTS["relevance"], strict=False)
    _check(table["class_id"], table["class_id"].is_not_null(), "no class", table, path)
    _check(table["segment_id"], ids.is_not_null(), "no text", table, path)
    _check(table["relevance"], (relevance == numbers).fill_null(False), f"no {JUDGMENTS['relevance']}", table, path)
    blank = (ids != ids.str.strip_chars(" \t\r\n\v\f")) | (ids == "")
    _check(ids, ~blank, "empty or has blanks around it", table, path)
    return pl.DataFrame({"class_id": class_ids(table["class_id"], path), "segment_id": ids, "relevance": relevance})


def _check(values: pl.Series, valid: pl.Series, complaint: str, table: pl.DataFrame, path: Path) -> None:
    """ValueError with the first row whose value is not valid."""
    if not valid.all():
        row = int(valid.arg_min() or 0)
        value = values[row] if values[row] is None else brief(str(values[row]))
        raise ValueError(
            f"{path}, row {table['row'][row]}: {values.name} is {value!r}, which is {complaint}; correct it"
        )


def _kind(path: Path) -> str | None:
    """The format of a file without a known suffix, by its first bytes; None if it has none of them."""
    if is_parquet(path):
        return "parquet"
    with map_text(path) as content:
        columns = content[:1000].partition(b"\n")[0].decode(errors="replace")
    if all(name in columns for name in JUDGMENTS):
        return "csv"
    return "trec" if trec.fields_of_first_line(path) == 4 else None
