"""Submissions from files: which forms there are, how each is read, and which faults are refused.

Files larger than memory are opened, and read class by class.
"""

import filecmp
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import polars as pl

from scoring import kaggle, trec
from scoring.coding import NO_SEGMENTS, check_segments, code_texts, find_in_text, first_places, union_of_segments
from scoring.ranked import (
    BLOCK,
    RankedLists,
    Repeats,
    Submission,
    class_blocks,
    from_ids,
    from_repeating,
)
from scoring.text import brief, reason

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

Format = Literal["trec"]
T = TypeVar("T")
LISTS = pl.Schema({"class_id": pl.UInt16, "segments": pl.List(pl.UInt32)})
PREDICTIONS = pl.Schema({**LISTS, "scores": pl.List(pl.Float32)})
LONG = pl.Schema({"class_id": pl.UInt16, "segment_id": pl.String, "rank": pl.UInt32})


def read_submission(path: Path, format: Format | None = None) -> Submission:
    """The whole submission of `path`; `open_submission` tells which files there are and which faults are refused."""
    lists = open_submission(path, format)
    return lists.read(lists.classes)


def open_submission(path: Path, format: Format | None = None, opened: "Sequence[CodedFile]" = ()) -> RankedLists:
    """Open a submission, to be read class by class.

    A folder with lists.parquet and segments.parquet (coded); a Parquet file of coded lists with segments.parquet
    beside it; a Parquet file in long form (class_id, segment_id, rank); a Kaggle CSV (`.csv`, `.csv.gz`); a TREC run
    (`.run`, or under format "trec" any file without one of these suffixes, plain or gzip). A segment given twice in a
    list keeps its first place. Raises ValueError, naming the file and the remedy, for everything that cannot be read
    without loss. `opened` are coded files whose table of segments is taken over where it is the same.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path} does not exist; give the path of a submission")
    if path.is_dir():
        return CodedFile(path / "lists.parquet", opened)
    if path.suffix == ".run" or (format == "trec" and not _has_own_suffix(path)):
        return from_ids(trec.read_run(path), str(path))
    if path.suffix == ".parquet":
        if "segments" in _parquet_schema(path):
            return CodedFile(path, opened)
        return _read_long(path)
    if path.name.endswith((".csv", ".csv.gz")):
        return KaggleFile(path)
    raise ValueError(f"{path} has no known format; name it .csv, .csv.gz or .parquet, or say --format trec")


def open_submissions(paths: Sequence[Path], format: Format | None = None) -> dict[str, RankedLists]:
    """Open several submissions, each named by its file (`member_name`), with one table of segments where they agree."""
    named: dict[str, RankedLists] = {}
    for path in paths:
        name = member_name(path)
        if name in named:
            raise ValueError(f"two submissions are named {name}; rename a file, since weights go by file name")
        named[name] = open_submission(path, format, [lists for lists in named.values() if isinstance(lists, CodedFile)])
    return named


def member_name(path: Path) -> str:
    """The name of a member by its file: without folder and without .csv, .csv.gz, .parquet or .gz."""
    return re.sub(r"(\.csv|\.parquet)?(\.gz)?$", "", os.path.basename(os.path.abspath(path)))


class KaggleFile:
    """A Kaggle CSV, opened: where each class's list stands in it, read on demand."""

    block = 1  # its own table of segments is small and stays in the processor's cache

    def __init__(self, path: Path):
        self.path = path
        self._lines = kaggle.Lines(path)
        self.repeats = Repeats(str(path))
        self.classes = self._lines.classes

    @property
    def segments(self) -> pl.Series:
        """The ids of the whole file, for which all of it is read."""
        table = NO_SEGMENTS
        for block in class_blocks([self]):
            table = union_of_segments([table, self.read(block).segments])
        return table

    def texts(self, class_ids: Sequence[int]) -> dict[int, bytes]:
        known = set(self.classes)
        return {class_id: self._lines.text(class_id) for class_id in class_ids if class_id in known}

    def read(self, class_ids: Sequence[int]) -> Submission:
        return _read_texts([self], class_ids)[0]

    def find(self, wanted: Mapping[int, pl.Series]) -> dict[int, np.ndarray]:
        found, repeats = {}, {}
        for class_id, text in self.texts(list(wanted)).items():
            ranks = find_in_text(text, wanted[class_id])
            if ranks is None:
                found |= self.read([class_id]).find(wanted)
            else:
                found[class_id], of_class = ranks
                repeats[class_id] = of_class
        self.repeats.tell(repeats)
        return found


def read_together(sources: Sequence[RankedLists], class_ids: Sequence[int]) -> list[Submission]:
    """Some classes of several sources; Kaggle CSVs are coded together, which saves matching their ids afterwards."""
    files = [source for source in sources if isinstance(source, KaggleFile)]
    if len(files) == len(sources):
        return _read_texts(files, class_ids)
    return [source.read(class_ids) for source in sources]


def _read_texts(files: Sequence[KaggleFile], class_ids: Sequence[int]) -> list[Submission]:
    texts = [file.texts(class_ids) for file in files]
    codes, segments = code_texts([text for of_file in texts for text in of_file.values()])
    remaining = iter(codes)
    ranked = [{class_id: next(remaining) for class_id in of_file} for of_file in texts]
    return [from_repeating(of_file, segments, file.repeats) for file, of_file in zip(files, ranked, strict=True)]


class CodedFile:
    """Coded lists in Parquet, with segments.parquet beside them, opened: read on demand, checked as they are read."""

    block = BLOCK

    def __init__(self, path: Path, opened: "Sequence[CodedFile]" = ()):
        from pyarrow.parquet import ParquetFile

        self._path = path
        self.beside = beside = path.parent / "segments.parquet"
        for needed in (path, beside):
            if not needed.is_file():
                raise ValueError(f"{needed} is missing; a coded submission is lists.parquet with segments.parquet")
        schema = _parquet_schema(path)
        expected = PREDICTIONS if "scores" in schema else LISTS
        if dict(schema) != dict(expected):
            raise ValueError(f"{path} has the columns {_words(schema)}; coded lists have {_words(expected)}")
        same = (other.segments for other in opened if filecmp.cmp(other.beside, beside, shallow=False))
        known = next(same, None)
        self.segments = _read_segments(beside) if known is None else known
        rows = _read_parquet(pl.scan_parquet(path).select("class_id"), path)["class_id"]
        _check_classes(rows, path)
        self._metadata = groups = _refusing(path, lambda: ParquetFile(path)).metadata
        self._ends = np.cumsum([groups.row_group(number).num_rows for number in range(groups.num_row_groups)])
        self._files = threading.local()
        self._repeats = Repeats(str(path))
        self._rows = {class_id: row for row, class_id in enumerate(rows.to_list())}
        self.classes = sorted(self._rows)

    def read(self, class_ids: Sequence[int]) -> Submission:
        rows = [self._rows[c] for c in class_ids if c in self._rows]
        groups = sorted(set((np.searchsorted(self._ends, rows, side="right")).tolist()))
        # pyarrow reads long lists of integers twice as fast as polars does.
        table = _refusing(self._path, lambda: self._file().read_row_groups(groups, use_threads=False))
        lists = pl.DataFrame(table)
        if lists["class_id"].to_list() != sorted(class_ids):
            lists = lists.filter(pl.col("class_id").is_in(list(class_ids))).sort("class_id")
        return Submission(self._checked(lists), self.segments)

    def find(self, wanted: Mapping[int, pl.Series]) -> dict[int, np.ndarray]:
        return self.read(list(wanted)).find(wanted)

    def _file(self) -> "ParquetFile":
        """The file as this thread opened it: Arrow's reader serves one at a time."""
        from pyarrow.parquet import ParquetFile

        if not hasattr(self._files, "own"):
            self._files.own = ParquetFile(self._path, metadata=self._metadata)
        return self._files.own

    def _checked(self, lists: pl.DataFrame) -> pl.DataFrame:
        """The lists with repeated segments at their first place alone; ValueError for codes without a segment."""
        if lists["segments"].null_count() or any(ids.null_count() for ids in lists["segments"]):
            raise ValueError(f"{self._path} holds nulls among its segments; write an empty list for nothing retrieved")
        if "scores" in lists.columns and not (lists["scores"].list.len() == lists["segments"].list.len()).all():
            raise ValueError(f"{self._path} has lists of segments and of scores that differ in length; infer it again")
        places: list[np.ndarray | None] = []
        for class_id, codes in Submission(lists, self.segments).ranked():
            if len(codes) and codes.max() >= len(self.segments):
                raise ValueError(
                    f"{self._path}, class {class_id}: code {codes.max()} has no segment; segments.parquet beside it "
                    f"has {len(self.segments)} rows and belongs to another submission"
                )
            places.append(first_places(codes))
        if all(kept is None for kept in places):
            return lists
        once = lists.with_columns(
            pl.Series(
                name,
                [column[row].to_numpy()[slice(None) if kept is None else kept] for row, kept in enumerate(places)],
                dtype=column.dtype,
            )
            for name, column in lists.drop("class_id").to_dict().items()
        )
        repeats = lists["segments"].list.len() - once["segments"].list.len()
        self._repeats.tell(dict(zip(lists["class_id"], repeats, strict=True)))
        return once


def _read_segments(path: Path) -> pl.Series:
    table = _read_parquet(pl.scan_parquet(path), path)
    if table.columns != ["segment_id"]:
        raise ValueError(f"{path} has the columns {brief(str(table.columns))}; it holds segment_id alone")
    check_segments(table["segment_id"], str(path))
    return table["segment_id"]


def _read_long(path: Path) -> Submission:
    schema = _parquet_schema(path)
    if missing := [name for name in LONG if name not in schema]:
        found = brief(str(list(schema)))
        raise ValueError(f"{path} lacks {missing}; the long form has class_id, segment_id, rank, it has {found}")
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


def _has_own_suffix(path: Path) -> bool:
    return path.name.endswith((".parquet", ".csv", ".csv.gz"))


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


def _check_classes(rows: pl.Series, path: Path) -> None:
    if not len(rows):
        raise ValueError(f"{path} holds no classes; give each class a row")
    if rows.null_count():
        raise ValueError(f"{path} has a row without class_id; give each row its class")
    if rows.is_duplicated().any():
        twice = rows.filter(rows.is_duplicated())[0]
        raise ValueError(f"{path}: class {twice} has more than one row; keep one of them")


def _words(schema: pl.Schema) -> str:
    return brief(", ".join(f"{name} {dtype}" for name, dtype in schema.items()))
