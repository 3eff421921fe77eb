"""Where fuse and merge write: a file, a coded folder, or standard output."""

import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from scoring.lists.ids import union_of_segments
from scoring.lists.opening import Format
from scoring.lists.progress import shown
from scoring.lists.ranked import RankedLists, Submission
from scoring.lists.streams import STREAM
from scoring.lists.trec import check_tag
from scoring.lists.writing import check_lists_output, write_blocks
from terminal.cli import counted

log = logging.getLogger(__name__)


@contextmanager
def output(out: Path, inputs: Sequence[Path], format: Format | None, *, tag: str) -> Iterator[Path]:
    """The file or folder to write lists to; for `-` a temporary file, copied to standard output if the block succeeds.

    ValueError, before anything is read, if `out` cannot be written without loss, or the tag of a run is no word.
    """
    check_tag(tag)
    if out != STREAM:
        check_lists_output(out, inputs)
        yield out
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("lists.run" if format == "trec" else "lists.csv")
        yield path
        with path.open("rb") as lists:
            shutil.copyfileobj(lists, sys.stdout.buffer)
        sys.stdout.flush()


def write_lists(
    blocks: Iterator[Submission], sources: Mapping[str, RankedLists], path: Path, *, label: str, tag: str
) -> str:
    """Write the lists computed from `sources`, and return what was written, in words."""
    classes, listed = 0, 0

    def count() -> Iterator[Submission]:
        nonlocal classes, listed
        for block in shown(blocks, sources.values(), label):
            classes += block.lists.height
            listed += int(block.lists["segments"].list.len().sum())
            yield block

    segments = None if path.suffix else union_of_segments([source.segments for source in sources.values()])
    write_blocks(count(), segments, path, tag=tag)
    return f"{counted(listed, 'segment')} of {counted(classes, 'class')}"


def say(text: str, out: Path) -> None:
    """Print what was written, or log it if standard output has the lists."""
    log.info(text) if out == STREAM else print(text)
