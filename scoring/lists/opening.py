"""Submissions from files: which forms there are, how each is read, and which faults are refused.

Files larger than memory are opened, and read class by class.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from scoring.lists import trec
from scoring.lists.coded import CodedFile, open_coded
from scoring.lists.kaggle import KaggleFile, _read_texts
from scoring.lists.long import _read_long
from scoring.lists.parquet import _parquet_schema
from scoring.lists.ranked import RankedLists, Submission, from_ids
from scoring.lists.versions import open_version, version_of

Format = Literal["trec"]


@dataclass(frozen=True)
class LoadedFile(Submission):
    """A submission from a file that was read whole; pickles as the file's path."""

    path: Path
    format: Format | None
    version: int

    def __reduce__(self) -> tuple:
        return open_version, (partial(open_submission, format=self.format), self.path.absolute(), self.version)


def read_submission(path: Path, format: Format | None = None) -> Submission:
    """The whole submission of `path`; `open_submission` tells which files there are and which faults are refused."""
    lists = open_submission(path, format)
    return lists.read(lists.classes)


def open_submission(path: Path, format: Format | None = None, opened: Sequence[CodedFile] = ()) -> RankedLists:
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
        return open_coded(path / "lists.parquet", opened)
    version = version_of(path)
    if path.suffix == ".run" or (format == "trec" and not _has_own_suffix(path)):
        run = from_ids(trec.read_run(path), str(path))
        return LoadedFile(run.lists, run.segments, path, format, version)
    if path.suffix == ".parquet":
        if "segments" in _parquet_schema(path):
            return open_coded(path, opened)
        long = _read_long(path)
        return LoadedFile(long.lists, long.segments, path, format, version)
    if path.name.endswith((".csv", ".csv.gz")):
        return KaggleFile(path)
    raise ValueError(f"{path} has no known format; name it .csv, .csv.gz or .parquet, or say --format trec")


def open_submissions(paths: Sequence[Path], format: Format | None = None) -> dict[str, RankedLists]:
    """Open several submissions, each named by its file (`member_name`); equal tables of segments are read once."""
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


def read_together(sources: Sequence[RankedLists], class_ids: Sequence[int]) -> list[Submission]:
    """Some classes of several sources; Kaggle CSVs are coded together, which saves matching their ids afterwards."""
    files = [source for source in sources if isinstance(source, KaggleFile)]
    if len(files) == len(sources):
        return _read_texts(files, class_ids)
    return [source.read(class_ids) for source in sources]


def _has_own_suffix(path: Path) -> bool:
    return path.name.endswith((".parquet", ".csv", ".csv.gz"))
