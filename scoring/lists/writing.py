"""Write submissions from blocks of classes: a file is complete or not written at all."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from files.replacing import replacing
from scoring.lists import kaggle, trec
from scoring.lists.pages import MARK, WRITER
from scoring.lists.ranked import Submission, codes_in, recode
from scoring.lists.streams import STREAM

if TYPE_CHECKING:
    import pyarrow

LONG: dict[str, Any] = {"compression": "zstd"}  # options of pyarrow's ParquetWriter
SUFFIXES = (".csv", ".csv.gz", ".parquet", *trec.SUFFIXES)
CODED = {"lists.parquet", "segments.parquet"}  # the files of a coded folder


def write_submission(submission: Submission, path: Path) -> None:
    """Write a submission whole; its format is known by the name, as for `write_blocks`."""
    write_blocks(iter([submission]), submission.segments, Path(path))


def check_output(out: Path, inputs: Iterable[Path]) -> None:
    """ValueError if the file `out` would replace an input or a folder, or its own folder is missing."""
    _check_inputs(out, inputs)
    if out.is_dir():
        raise ValueError(f"{out} is a folder, and a file is written; choose another name")


def check_lists_output(out: Path, inputs: Iterable[Path]) -> None:
    """`check_output` for ranked lists; also ValueError for an unknown format, or other content in a coded folder."""
    if out.suffix:
        check_output(out, inputs)
        if not out.name.endswith(SUFFIXES):
            raise ValueError(f"{out} has no known format; name it .csv, .csv.gz, .parquet, .run or without suffix")
    else:
        _check_inputs(out, inputs)
        _check_folder(out)


def _check_inputs(out: Path, inputs: Iterable[Path]) -> None:
    if out == STREAM:
        raise ValueError("standard output cannot be written to here; give --out the name of a file")
    # A coded folder may be given as its lists.parquet.
    for path in (place for one in inputs for place in (one, one.absolute().parent)):
        if out.exists() and path.exists() and out.samefile(path):
            raise ValueError(f"{out} is one of the inputs, which would be lost; choose another name")
    if not out.absolute().parent.is_dir():
        raise ValueError(f"{out.absolute().parent} is no folder; make it, or choose another name")


def write_blocks(blocks: Iterator[Submission], segments: pl.Series | None, path: Path, *, tag: str = trec.TAG) -> None:
    """Write a submission given in blocks of ascending classes; an existing file is replaced only at the end.

    Formats: coded folder (no suffix), long form (`.parquet`), Kaggle CSV (`.csv`, `.csv.gz`), TREC run (`.run`,
    `.trec`, both plain or with `.gz`) with this `tag`. `segments` is the table of a coded folder, with the ids of all
    blocks; the other formats need none.
    """
    check_lists_output(path, [])
    lists = ((c, block.segments.gather(codes)) for block in blocks for c, codes in block.ranked())
    if path.suffix == "":
        assert segments is not None, "a coded folder needs its table of segments"
        write_coded(blocks, segments, path)
    elif path.suffix == ".parquet":
        with replacing(path) as temporary:
            _sink((block.long() for block in blocks), temporary)
    elif is_run(path):
        with replacing(path) as temporary:
            trec.write_run(blocks, temporary, tag=tag, compressed=path.suffix == ".gz")
    else:
        with replacing(path) as temporary:
            kaggle.write(lists, temporary, compressed=path.suffix == ".gz")


def is_run(path: Path) -> bool:
    """Whether lists are written to this path as a TREC run, which has their scores."""
    return path.name.endswith(trec.SUFFIXES)


def write_coded(blocks: Iterator[Submission], segments: pl.Series, folder: Path) -> None:
    """Write blocks of ascending classes as a coded folder, whatever its name; `segments` has the ids of all blocks."""
    _check_folder(folder)
    with replacing(folder) as temporary:
        temporary.mkdir()
        coded = (recode(block, segments, codes_in(block.segments, segments)).lists for block in blocks)
        _sink(coded, temporary / "lists.parquet")
        write_segments(segments, temporary / "segments.parquet")


def _check_folder(folder: Path) -> None:
    """ValueError if a file, or a folder with other files than a coded submission's, has the name of a new folder."""
    if folder.is_file():
        raise ValueError(f"{folder} is a file, and a coded submission is a folder; choose another name")
    if folder.is_dir() and (others := sorted({entry.name for entry in folder.iterdir()} - CODED)):
        raise ValueError(f"{folder} contains {others[0]}, which would be lost; choose another name")


def write_segments(segments: pl.Series, path: Path) -> None:
    """Write the table of segments of a coded folder."""
    pl.DataFrame({"segment_id": segments}).write_parquet(path, compression="lz4")


def _sink(tables: Iterator[pl.DataFrame], path: Path) -> None:
    """Write tables with equal columns to one Parquet file; coded lists get one row group per class."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    first = next(tables, None)
    if first is None:
        raise ValueError(f"there is no class to write to {path}; give submissions with at least one class")
    # Coded lists read faster if declared without nulls, each in one page.
    coded = "segments" in first.columns
    fields = [_required(field) if coded else field for field in first.slice(0, 0).to_arrow().schema]
    schema = pyarrow.schema(fields, MARK if coded else None)
    with ParquetWriter(path, schema, **(WRITER if coded else LONG)) as writer:
        for table in itertools.chain([first], tables):
            writer.write_table(table.to_arrow().cast(schema), row_group_size=1 if coded else None)


def _required(field: "pyarrow.Field") -> "pyarrow.Field":
    """The same field, declared without nulls, as are the values of its lists."""
    import pyarrow

    if pyarrow.types.is_large_list(field.type):
        return pyarrow.field(field.name, pyarrow.large_list(_required(field.type.value_field)), nullable=False)
    return field.with_nullable(False)
