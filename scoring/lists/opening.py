"""Open submissions, whatever their file format.

Coded folders and Kaggle CSVs may be larger than memory: they are read class by class.
"""

import os
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from scoring.lists import kaggle, trec
from scoring.lists.classes import one_type
from scoring.lists.coded import CodedFile, open_coded
from scoring.lists.ids import share_table
from scoring.lists.kaggle import KaggleFile, begins_with_header
from scoring.lists.long import read_long
from scoring.lists.parquet import is_parquet, parquet_schema
from scoring.lists.ranked import BLOCK, ClassId, RankedLists, Submission, codes_in, recode
from scoring.lists.streams import local_file
from scoring.lists.versions import open_version, version_of

Format = Literal["trec"]
SUFFIXES = {".parquet": "parquet", ".csv": "kaggle", ".csv.gz": "kaggle"} | dict.fromkeys(trec.SUFFIXES, "trec")


@dataclass(frozen=True)
class LoadedFile(Submission):
    """A submission from a file that was read as a whole. Pickles as the file's path."""

    path: Path
    format: Format | None
    version: int

    def __reduce__(self) -> tuple:
        return open_version, (partial(open_submission, format=self.format), self.path.absolute(), self.version)


def read_submission(path: Path, format: Format | None = None) -> Submission:
    """Read a submission as a whole; formats and errors are those of `open_submission`."""
    lists = open_submission(path, format)
    return lists.read(lists.classes)


def open_submission(path: Path, format: Format | None = None, opened: Sequence[CodedFile] = ()) -> RankedLists:
    """Open a submission, to be read class by class; `-` is standard input.

    Formats: a folder with lists.parquet and segments.parquet (coded); a Parquet file of coded lists with
    segments.parquet in the same folder; a Parquet file in long form (class_id, segment_id, rank); a Kaggle CSV; a TREC
    run. A file's format is known by its suffix (.parquet; .csv, .csv.gz; .run, .trec, both plain or with .gz), else it
    is `format`, else it is known by the first bytes. A segment given twice in a list keeps its first rank. Coded lists
    share the table of segments of a file in `opened` if the two are equal.

    Raises:
        ValueError: for everything that cannot be read without loss; it names the file and the remedy.
    """
    path = local_file(Path(path))
    if not path.exists():
        raise ValueError(f"{path} does not exist; give the path of a submission")
    if path.is_dir():
        return open_coded(path / "lists.parquet", opened)
    version = version_of(path)
    kind = next((kind for suffix, kind in SUFFIXES.items() if path.name.endswith(suffix)), format) or _kind(path)
    if kind == "parquet":
        if "segments" in parquet_schema(path):
            return open_coded(path, opened)
        long = read_long(path)
        return LoadedFile(long.lists, long.segments, path, format, version)
    if kind == "kaggle":
        return KaggleFile(path)
    if kind == "trec":
        run = trec.read_run(path)
        return LoadedFile(run.lists, run.segments, path, format, version)
    raise ValueError(f"{path} has no known format; name it .csv, .csv.gz or .parquet, or say --format trec")


def _kind(path: Path) -> str | None:
    """The format of a file without a known suffix, by its first bytes; None if it has none of them."""
    if is_parquet(path):
        return "parquet"
    if begins_with_header(path):
        return "kaggle"
    return "trec" if trec.fields_of_first_line(path) == 6 else None


def open_submissions(paths: Sequence[Path], format: Format | None = None) -> dict[str, RankedLists]:
    """Open several submissions over one table of segments; `member_names` are the keys."""
    named: dict[str, RankedLists] = {}
    for name, path in zip(member_names(paths), paths, strict=True):
        named[name] = open_submission(path, format, [lists for lists in named.values() if isinstance(lists, CodedFile)])
    sources = one_type(list(named.values()))
    # Kaggle CSVs alone are coded class by class instead (`read_together`).
    if not all(isinstance(source, KaggleFile) for source in sources) and shared_table(sources) is None:
        table = SharedTable(sources)
        sources = [Recoded(source, table, number) for number, source in enumerate(sources)]
    return dict(zip(named, sources, strict=True))


def shared_table(sources: Sequence[RankedLists]) -> pl.Series | None:
    """The table of segments that all sources share; None if tables differ or a source is a Kaggle CSV."""
    if any(isinstance(source, KaggleFile) for source in sources):
        return None
    first = sources[0].segments
    return first if all(source.segments is first for source in sources) else None


class SharedTable:
    """The union of the sources' tables of segments, computed at the first use. Pickles as the sources."""

    def __init__(self, sources: Sequence[RankedLists]):
        self.sources, self._lock = sources, threading.Lock()

    def __reduce__(self) -> tuple:
        return SharedTable, (self.sources,)

    @cached_property
    def _coded(self) -> tuple[list[np.ndarray | None], pl.Series]:
        return share_table([source.segments for source in self.sources])

    def codes(self) -> tuple[list[np.ndarray | None], pl.Series]:
        """`share_table` of the sources' tables. Thread-safe."""
        with self._lock:
            return self._coded


@dataclass(frozen=True)
class Recoded:
    """The source with this number of a shared table, its lists over that table."""

    source: RankedLists
    table: SharedTable
    number: int
    block = BLOCK

    @property
    def classes(self) -> list[ClassId]:
        return self.source.classes

    @property
    def segments(self) -> pl.Series:
        return self.table.codes()[1]

    def read(self, class_ids: Sequence[ClassId]) -> Submission:
        codes, segments = self.table.codes()
        block = self.source.read(class_ids)
        mapping = codes_in(block.segments, segments) if isinstance(self.source, KaggleFile) else codes[self.number]
        return recode(block, segments, mapping)

    def find(self, wanted: Mapping[ClassId, pl.Series]) -> dict[ClassId, np.ndarray]:
        return self.source.find(wanted)


def member_names(paths: Sequence[Path]) -> list[str]:
    """Each member's name: that of its file, or of its folder if all files have one name (`a/sub.csv`, `b/sub.csv`).

    ValueError if two names are equal.
    """
    names = [member_name(path) for path in paths]
    folders = [os.path.basename(os.path.dirname(os.path.abspath(path))) for path in paths]
    if len(set(names)) == 1 and len(set(folders)) == len(paths):
        names = folders if len(paths) > 1 else names
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two submissions are named {twice[0]}; rename a file, since file names are members' names")
    return names


def member_name(path: Path) -> str:
    """The name of a member's file, without folder and without .csv, .csv.gz, .parquet or .gz."""
    return re.sub(r"(\.csv|\.parquet)?(\.gz)?$", "", os.path.basename(os.path.abspath(path)))


def read_together(sources: Sequence[RankedLists], class_ids: Sequence[ClassId]) -> list[Submission]:
    """Some classes of several sources. Kaggle CSVs are coded together, which is faster than sharing tables later."""
    files = [source for source in sources if isinstance(source, KaggleFile)]
    if len(files) == len(sources):
        return kaggle.read_together(files, class_ids)
    return [source.read(class_ids) for source in sources]
