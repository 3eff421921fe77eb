"""The first segments of every list of several members, in two small files.

`top.parquet` has one row per class and member, sorted: class_id, member str, segments list[u32] (at most `DEPTH` codes,
best first), one row group per class. `top_segments.parquet` has the segment ids that occur, sorted as UTF-8 bytes; the
code is the row. With 1,000 classes and nine members that is at most 9 million codes.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from files.replacing import replacing
from scoring.lists.ids import share_table
from scoring.lists.ranked import NO_CODES, ClassId, Submission, class_series, codes_in, list_column
from scoring.lists.writing import write_segments

DEPTH = 1000
TOP, TOP_SEGMENTS = "top.parquet", "top_segments.parquet"


class TopLists:
    """Collects the first `DEPTH` segments of each list while the lists are written."""

    def __init__(self) -> None:
        self._tables: dict[str, pl.Series] = {}
        self._lists: dict[str, dict[ClassId, np.ndarray]] = {}

    def collect(self, member: str, blocks: Iterator[Submission], segments: pl.Series) -> Iterator[Submission]:
        """The same blocks; `segments` has the ids of all of them."""
        self._tables[member], lists = segments, self._lists.setdefault(member, {})
        for block in blocks:
            codes = codes_in(block.segments, segments)
            for class_id, ranked in block.ranked():
                first = ranked[:DEPTH]
                lists[class_id] = first.copy() if codes is None else codes[first].astype(np.uint32)
            yield block

    def write(self, folder: Path) -> None:
        """Write both files to a folder; ValueError if nothing was collected."""
        members = sorted(self._lists)
        classes = sorted(set().union(*self._lists.values()))
        if not classes:
            raise ValueError("there are no lists to take the first segments of; merge at least one member")
        recoded, segments = share_table([self._tables[member] for member in members])
        used = np.zeros(len(segments), dtype=bool)
        rows: list[tuple[ClassId, str, np.ndarray]] = []
        for class_id in classes:
            for member, codes in zip(members, recoded, strict=True):
                if class_id in self._lists[member]:
                    first = self._lists[member][class_id]
                    rows.append((class_id, member, first if codes is None else codes[first]))
                    used[rows[-1][2]] = True
        numbers = (np.cumsum(used) - 1).astype(np.uint32)
        table = pl.DataFrame(
            {
                "class_id": class_series([class_id for class_id, _, _ in rows]),
                "member": [member for _, member, _ in rows],
                "segments": list_column([numbers[first] for _, _, first in rows], NO_CODES),
            }
        )
        with replacing(folder / TOP) as temporary:
            table.write_parquet(temporary, row_group_size=len(members))
        write_segments(segments.filter(pl.Series(used)), folder / TOP_SEGMENTS)


def read_top(folder: Path, class_id: ClassId) -> pl.DataFrame:
    """The first segments of a class, of each member that lists it: member, rank u32 (from 1), segment_id."""
    lists = pl.scan_parquet(folder / TOP).filter(pl.col("class_id") == class_id).collect()
    rows = lists.explode("segments", empty_as_null=True).drop_nulls("segments")
    segments = pl.read_parquet(folder / TOP_SEGMENTS)["segment_id"]
    return rows.select(
        "member",
        rank=pl.int_range(1, pl.len() + 1, dtype=pl.UInt32).over("member"),
        segment_id=segments.gather(rows["segments"]),
    )
