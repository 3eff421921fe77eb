"""Submissions to files: each form written whole or not at all, from blocks of classes."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from files.replacing import replacing
from scoring.lists import kaggle, trec
from scoring.lists.ranked import Submission, codes_in, recode

if TYPE_CHECKING:
    import pyarrow

CODED = {"lists.parquet", "segments.parquet"}  # the files of a coded folder


def write_submission(submission: Submission, path: Path) -> None:
    """Write by suffix: none, a coded folder; `.parquet`, the long form; `.csv[.gz]`, a Kaggle CSV; `.run`, TREC."""
    write_blocks(iter([submission]), submission.segments, Path(path))


def check_output(out: Path, inputs: Iterable[Path]) -> None:
    """ValueError if `out` cannot be written without losing something: an input, a folder, files in a folder."""
    for path in inputs:
        if out.exists() and path.exists() and out.samefile(path):
            raise ValueError(f"{out} is one of the inputs, which would be lost; choose another name")
    if not out.absolute().parent.is_dir():
        raise ValueError(f"{out.absolute().parent} is no folder; make it, or choose another name")
    if out.suffix and out.is_dir():
        raise ValueError(f"{out} is a folder, and {out.suffix} is written as a file; choose another name")


def write_blocks(blocks: Iterator[Submission], segments: pl.Series | None, path: Path) -> None:
    """Write a submission that comes in blocks of ascending classes; what was there is replaced only at the end.

    `segments` is the table of a coded folder, with every id that will come; the other forms need none.
    """
    check_output(path, [])
    if path.suffix == "":
        assert segments is not None, "coded lists need their table of segments before the first block"
        write_coded(blocks, segments, path)
    elif path.suffix == ".parquet":
        with replacing(path) as temporary:
            _sink((block.long() for block in blocks), temporary)
    elif path.name.endswith((".csv", ".csv.gz")):
        lists = ((c, block.segments.gather(codes)) for block in blocks for c, codes in block.ranked())
        with replacing(path) as temporary:
            kaggle.write(lists, temporary, compressed=path.suffix == ".gz")
    elif path.suffix == ".run":
        lists = ((c, block.segments.gather(codes)) for block in blocks for c, codes in block.ranked())
        with replacing(path) as temporary:
            trec.write_run(lists, temporary)
    else:
        raise ValueError(f"{path} has no known format; name it .csv, .csv.gz, .parquet, .run or without suffix (coded)")


def write_coded(blocks: Iterator[Submission], segments: pl.Series, folder: Path) -> None:
    """Write blocks of ascending classes as a coded folder, whatever its name; `segments` has every id to come."""
    if folder.is_file():
        raise ValueError(f"{folder} is a file, and a coded submission is a folder; choose another name")
    if folder.is_dir() and (others := sorted({entry.name for entry in folder.iterdir()} - CODED)):
        raise ValueError(f"{folder} holds {others[0]}, which would be lost; choose another name")
    with replacing(folder) as temporary:
        temporary.mkdir()
        coded = (recode(block, segments, codes_in(block.segments, segments)).lists for block in blocks)
        _sink(coded, temporary / "lists.parquet")
        write_segments(segments, temporary / "segments.parquet")


def write_segments(segments: pl.Series, path: Path) -> None:
    """Write the table of segments that stands beside coded lists."""
    pl.DataFrame({"segment_id": segments}).write_parquet(path, compression="lz4")


def _sink(tables: Iterator[pl.DataFrame], path: Path) -> None:
    """Write tables that come one after another into one Parquet file; coded lists get a row group for each class."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    first = next(tables, None)
    if first is None:
        raise ValueError(f"there is no class to write to {path}; give submissions with at least one class")
    # Lists of integers: nothing is null, which reads faster, and nothing is shorter by a dictionary.
    coded = "segments" in first.columns
    schema = pyarrow.schema([_required(field) if coded else field for field in first.slice(0, 0).to_arrow().schema])
    with ParquetWriter(path, schema, compression="lz4" if coded else "zstd", use_dictionary=not coded) as writer:
        for table in itertools.chain([first], tables):
            writer.write_table(table.to_arrow().cast(schema), row_group_size=1 if coded else None)


def _required(field: "pyarrow.Field") -> "pyarrow.Field":
    """The same field without nulls, in its lists too."""
    import pyarrow

    if pyarrow.types.is_large_list(field.type):
        return pyarrow.field(field.name, pyarrow.large_list(_required(field.type.value_field)), nullable=False)
    return field.with_nullable(False)
