"""Coded lists: `lists.parquet` with integer codes, and `segments.parquet` with the segment ids that they index."""

import filecmp
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from scoring.lists.ids import check_segments, first_places
from scoring.lists.pages import pages_of
from scoring.lists.parquet import parquet_schema, read_parquet, refusing, schema_text
from scoring.lists.ranked import BLOCK, ClassId, Repeats, Submission, class_series, list_column
from scoring.lists.text import brief
from scoring.lists.versions import open_version, version_of

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

LISTS = pl.Schema({"class_id": pl.UInt16, "segments": pl.List(pl.UInt32)})
PREDICTIONS = pl.Schema({**LISTS, "scores": pl.List(pl.Float32)})


class SegmentsFile:
    """A file with a table of segments, shared by coded files with equal tables. Pickles as its path."""

    def __init__(self, path: Path):
        self.path, self._version = path, version_of(path)
        self.segments = _read_segments(path)

    def __reduce__(self) -> tuple:
        return open_version, (SegmentsFile, self.path.absolute(), self._version)


class CodedFile:
    """An opened Parquet file of coded lists, with segments.parquet in the same folder. Lists are checked when read.

    Pickles as its path: another process opens it again. `table` is an equal table of segments that is already open.
    """

    block = BLOCK

    def __init__(self, path: Path, table: SegmentsFile | None = None):
        from pyarrow.parquet import ParquetFile

        self._path = path
        segments_path = path.parent / "segments.parquet"
        for needed in (path, segments_path):
            if not needed.is_file():
                raise ValueError(f"{needed} is missing; a coded submission is lists.parquet with segments.parquet")
        schema = parquet_schema(path)
        expected = PREDICTIONS if "scores" in schema else LISTS
        named = {**schema, "class_id": pl.UInt16} if schema.get("class_id") == pl.String else schema
        if dict(named) != dict(expected):
            raise ValueError(
                f"{path} has the columns {schema_text(schema)}; coded lists have {schema_text(expected)} "
                "(class_id String for names)"
            )
        self._version = version_of(path)
        self.table = table or SegmentsFile(segments_path)
        self.segments = self.table.segments
        rows = read_parquet(pl.scan_parquet(path).select("class_id"), path)["class_id"]
        _check_classes(rows, path)
        self._metadata = groups = refusing(path, lambda: ParquetFile(path)).metadata
        self._ends = np.cumsum([groups.row_group(number).num_rows for number in range(groups.num_row_groups)])
        self._pages = refusing(path, lambda: pages_of(path, groups))
        self._columns = {name: dtype.inner for name, dtype in named.items() if isinstance(dtype, pl.List)}
        self._files = threading.local()
        self._repeats = Repeats(str(path))
        self._rows = {class_id: row for row, class_id in enumerate(rows.to_list())}
        self.classes = sorted(self._rows)

    def __reduce__(self) -> tuple:
        return open_version, (partial(CodedFile, table=self.table), self._path.absolute(), self._version)

    def read(self, class_ids: Sequence[ClassId]) -> Submission:
        lists = refusing(self._path, lambda: self._from_pages(class_ids))
        return Submission(self._checked(self._from_arrow(class_ids) if lists is None else lists), self.segments)

    def find(self, wanted: Mapping[ClassId, pl.Series]) -> dict[ClassId, np.ndarray]:
        return self.read(list(wanted)).find(wanted)

    def _from_pages(self, class_ids: Sequence[ClassId]) -> pl.DataFrame | None:
        """The lists of these classes, if the file is written as `pages.py` reads it."""
        pages, classes = self._pages, sorted(c for c in class_ids if c in self._rows)
        if pages is None:
            return None
        columns = [class_series(classes)]
        for number, (name, inner) in enumerate(self._columns.items(), 1):
            dtype = np.uint32 if inner == pl.UInt32 else np.float32
            lists = [pages.read(self._rows[c], number, dtype) for c in classes]
            lists = [values for values in lists if values is not None]
            if len(lists) < len(classes):
                return None
            columns.append(list_column(lists, pl.Series(name, [], dtype=pl.List(inner))))
        return pl.DataFrame(columns)

    def _from_arrow(self, class_ids: Sequence[ClassId]) -> pl.DataFrame:
        """The lists of these classes from any Parquet file."""
        rows = [self._rows[c] for c in class_ids if c in self._rows]
        groups = sorted(set((np.searchsorted(self._ends, rows, side="right")).tolist()))
        # pyarrow reads long lists of integers twice as fast as polars does.
        table = refusing(self._path, lambda: self._file().read_row_groups(groups, use_threads=False))
        lists = pl.DataFrame(table)
        if lists["class_id"].to_list() != sorted(class_ids):
            wanted = pl.Series(class_ids, dtype=lists["class_id"].dtype)
            lists = lists.filter(pl.col("class_id").is_in(wanted.implode())).sort("class_id")
        return lists

    def _file(self) -> "ParquetFile":
        """This thread's reader of the file, since a reader of Arrow serves one thread at a time."""
        from pyarrow.parquet import ParquetFile

        try:
            return self._files.reader
        except AttributeError:
            self._files.reader = ParquetFile(self._path, metadata=self._metadata)
            return self._files.reader

    def _checked(self, lists: pl.DataFrame) -> pl.DataFrame:
        """The lists without repeated segments (the first occurrence counts); ValueError for lists that are invalid."""
        if lists["segments"].null_count() or any(ids.null_count() for ids in lists["segments"]):
            raise ValueError(f"{self._path} has nulls among its segments; write an empty list for nothing retrieved")
        if "scores" in lists.columns:
            if not (lists["scores"].list.len() == lists["segments"].list.len()).fill_null(False).all():
                raise ValueError(f"{self._path} has lists of segments and scores of unequal length; infer it again")
            for class_id, scores in zip(lists["class_id"], lists["scores"], strict=True):
                if scores.null_count() or not scores.is_finite().all():
                    raise ValueError(f"{self._path}, class {class_id}: a score is null, NaN or infinite; predict again")
        first: list[np.ndarray | None] = []
        for class_id, codes in Submission(lists, self.segments).ranked():
            if len(codes) and codes.max() >= len(self.segments):
                raise ValueError(
                    f"{self._path}, class {class_id}: code {codes.max()} has no segment; its segments.parquet has "
                    f"{len(self.segments)} rows and belongs to another submission"
                )
            first.append(first_places(codes, len(self.segments)))
        if all(at is None for at in first):
            return lists
        once = lists.with_columns(_chosen(column, first) for column in lists.drop("class_id"))
        repeats = lists["segments"].list.len() - once["segments"].list.len()
        self._repeats.warn(dict(zip(lists["class_id"], repeats, strict=True)))
        return once


def open_coded(path: Path, opened: Sequence[CodedFile] = ()) -> CodedFile:
    """Open coded lists, with the table of segments of an `opened` file if both segments.parquet have equal bytes."""
    segments = path.parent / "segments.parquet"
    tables = {file.table.path: file.table for file in opened}.values() if segments.is_file() else ()
    return CodedFile(path, next((table for table in tables if filecmp.cmp(table.path, segments, shallow=False)), None))


def _read_segments(path: Path) -> pl.Series:
    table = read_parquet(pl.scan_parquet(path), path)
    if table.columns != ["segment_id"]:
        raise ValueError(f"{path} has the columns {brief(str(table.columns))}; its only column must be segment_id")
    check_segments(table["segment_id"], str(path))
    return table["segment_id"]


def _chosen(column: pl.Series, positions: Sequence[np.ndarray | None]) -> pl.Series:
    """The values of each list at these positions; all of them if None."""
    lists = [row.to_numpy() if at is None else row.to_numpy()[at] for row, at in zip(column, positions, strict=True)]
    return list_column(lists, column.clear())


def _check_classes(rows: pl.Series, path: Path) -> None:
    if not len(rows):
        raise ValueError(f"{path} contains no classes; give each class a row")
    if rows.null_count():
        raise ValueError(f"{path} has a row without class_id; give each row its class")
    if rows.is_duplicated().any():
        twice = rows.filter(rows.is_duplicated())[0]
        raise ValueError(f"{path}: class {twice} has more than one row; keep one of them")
