"""Ranked lists in memory, with segments as integer codes.

The code of a segment is its row among the ids sorted as UTF-8 bytes: codes order as ids do.
"""

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import polars as pl

from scoring.lists.ids import NO_SEGMENTS, first_places, known_codes, share_table
from scoring.lists.kernels import ranks_of_codes
from terminal.cli import counted
from videos.judgments import rows_by_class

log = logging.getLogger(__name__)

K = 100_000  # the competition's cutoff
BLOCK = 5  # classes of coded lists in memory at a time
NO_CODES = pl.Series("segments", [], dtype=pl.List(pl.UInt32))
NO_SCORES = pl.Series("scores", [], dtype=pl.List(pl.Float32))
ClassId: TypeAlias = Any  # an int, or a str if classes have names (`classes.py`)


def class_series(classes: Sequence[ClassId]) -> pl.Series:
    """Class ids as a column: String for names, otherwise UInt16."""
    names = any(isinstance(class_id, str) for class_id in classes[:1])
    return pl.Series("class_id", classes, dtype=pl.String if names else pl.UInt16)


def class_slices(classes: pl.Series) -> dict[ClassId, slice]:
    """The rows of each class in a column that is sorted by class."""
    return rows_by_class(classes.alias("class_id").to_frame()) if len(classes) else {}


class RankedLists(Protocol):
    """Ranked lists that can be read a few classes at a time: a `Submission` or an opened file."""

    @property
    def classes(self) -> list[ClassId]: ...

    @property
    def segments(self) -> pl.Series: ...

    @property
    def block(self) -> int:
        """How many classes to read at a time."""
        ...

    def read(self, class_ids: Sequence[ClassId]) -> "Submission":
        """The lists of these classes; classes that the source lacks are left out."""
        ...

    def find(self, wanted: Mapping[ClassId, pl.Series]) -> dict[ClassId, np.ndarray]:
        """Per class, ranks of these ids in its list (u32, from 1; 0 if not listed); missing classes are left out."""
        ...


@dataclass(frozen=True)
class Submission:
    """Ranked lists of all classes.

    `lists` has one row per class, ascending: class_id u16 (or str), segments list[u32] (distinct codes, best first),
    for predictions also scores list[f32]. An empty list is a class with nothing retrieved. `segments` are the ids,
    sorted as UTF-8 bytes; the code is the row.
    """

    lists: pl.DataFrame
    segments: pl.Series
    block = BLOCK

    @property
    def classes(self) -> list[ClassId]:
        return self.lists["class_id"].to_list()

    def read(self, class_ids: Sequence[ClassId]) -> "Submission":
        wanted = pl.Series(class_ids, dtype=self.lists["class_id"].dtype)
        return Submission(self.lists.filter(pl.col("class_id").is_in(wanted.implode())), self.segments)

    def find(self, wanted: Mapping[ClassId, pl.Series]) -> dict[ClassId, np.ndarray]:
        lists = dict(self.read(list(wanted)).ranked())
        known, rows = known_codes(pl.concat([NO_SEGMENTS, *(wanted[class_id] for class_id in lists)]), self.segments)
        ranks, start = {}, 0
        for class_id, codes in lists.items():
            part = slice(start, start := start + len(wanted[class_id]))
            ranks[class_id] = np.zeros(part.stop - part.start, dtype=np.uint32)
            ranks[class_id][known[part]] = ranks_of_codes(rows[part][known[part]], codes)
        return ranks

    def ranked(self) -> Iterator[tuple[ClassId, np.ndarray]]:
        """Each class with its codes (u32), best first."""
        lists = self.lists["segments"]
        for row, class_id in enumerate(self.classes):
            yield class_id, lists[row].to_numpy()

    def long(self) -> pl.DataFrame:
        """The long form: class_id, segment_id, rank from 1; a class with nothing retrieved is one row of nulls."""
        rows = self.lists.select("class_id", "segments").explode("segments", empty_as_null=True)
        return rows.select(
            "class_id",
            segment_id=self.segments.gather(rows["segments"]),
            rank=pl.when(pl.col("segments").is_not_null()).then(
                pl.int_range(1, pl.len() + 1, dtype=pl.UInt32).over("class_id")
            ),
        )


def from_codes(codes: Mapping[ClassId, np.ndarray], segments: pl.Series) -> Submission:
    """The submission with the codes `codes[c]`, best first, as the list of class c."""
    classes = sorted(codes)
    lists = pl.DataFrame(
        {
            "class_id": class_series(classes),
            "segments": list_column([codes[c].astype(np.uint32, copy=False) for c in classes], NO_CODES),
        }
    )
    return Submission(lists, segments)


def list_column(rows: Sequence[np.ndarray], like: pl.Series) -> pl.Series:
    """A column of lists with the name and type of `like`."""
    import pyarrow

    if not rows:
        return like.clear()
    ends = pyarrow.array(np.cumsum([0, *map(len, rows)]), pyarrow.int64())
    lists = pyarrow.LargeListArray.from_arrays(ends, pyarrow.array(np.concatenate(rows)))
    return pl.Series(like.name, lists, dtype=like.dtype)


def from_repeating(codes: Mapping[ClassId, np.ndarray], segments: pl.Series, repeats: "Repeats") -> Submission:
    """`from_codes` for lists that may repeat a segment: its first rank counts, and `repeats` logs a warning."""
    ranked, counts = {}, {}
    for class_id, class_codes in codes.items():
        first = first_places(class_codes, len(segments))
        ranked[class_id] = class_codes if first is None else class_codes[first]
        counts[class_id] = len(class_codes) - len(ranked[class_id])
    repeats.warn(counts)
    return from_codes(ranked, segments)


class Repeats:
    """Logs at most one warning per source about repeated segments. Thread-safe."""

    def __init__(self, source: str):
        self._source, self._lock, self._warned = source, threading.Lock(), False

    def warn(self, counts: Mapping[ClassId, int]) -> None:
        """`counts`: how many repeated segments the list of each class has."""
        class_id, count = max(counts.items(), key=lambda item: item[1], default=(0, 0))
        with self._lock:
            is_first, self._warned = count > 0 and not self._warned, self._warned or count > 0
        if is_first:
            log.warning(
                "%s: %s in the list of class %s; the first rank of each counts, in every list",
                *(self._source, counted(count, "repeated segment"), class_id),
            )


def share_segments(submissions: Sequence[Submission]) -> list[Submission]:
    """The same submissions over one table of segments: equal codes are equal segments."""
    codes, segments = share_table([submission.segments for submission in submissions])
    return [recode(one, segments, own_codes) for one, own_codes in zip(submissions, codes, strict=True)]


def recode(submission: Submission, segments: pl.Series, codes: np.ndarray | None) -> Submission:
    """The same lists over the table `segments`; row i of the old table has the code `codes[i]` (i if None)."""
    if codes is None:
        return Submission(submission.lists, segments)
    ranked = {class_id: codes[rows] for class_id, rows in submission.ranked()}
    lists = from_codes(ranked, segments).lists
    return Submission(submission.lists.with_columns(lists["segments"]), segments)


def codes_in(table: pl.Series, segments: pl.Series) -> np.ndarray | None:
    """The codes in `segments` of the ids of a smaller table (sorted, all of them in it); None for the same table."""
    return None if table is segments else segments.search_sorted(table).to_numpy()


def class_blocks(sources: Iterable[RankedLists]) -> Iterator[list[ClassId]]:
    """The classes of all sources, ascending, in blocks that are read at a time."""
    sources = list(sources)
    classes = sorted(set().union(*(source.classes for source in sources)))
    size = max((source.block for source in sources), default=BLOCK)
    for start in range(0, len(classes), size):
        yield classes[start : start + size]


def read_blocks(source: RankedLists) -> Iterator[Submission]:
    """The submission of each block of classes."""
    return (source.read(class_ids) for class_ids in class_blocks([source]))


@dataclass(frozen=True)
class Part:
    """A block of classes that is not read yet: the ranks of a few ids are found without coding all ids."""

    source: RankedLists
    classes: list[ClassId]

    def find(self, wanted: Mapping[ClassId, pl.Series]) -> dict[ClassId, np.ndarray]:
        chosen = set(self.classes)
        return self.source.find({class_id: ids for class_id, ids in wanted.items() if class_id in chosen})


def parts(source: RankedLists) -> Iterator[Part]:
    """A submission as blocks of classes that are not read yet."""
    return (Part(source, class_ids) for class_ids in class_blocks([source]))


def with_scores(submission: Submission, scores: Sequence[np.ndarray]) -> Submission:
    """The same lists with the scores of their segments: one array per row of `submission.lists`."""
    column = list_column([class_scores.astype(np.float32, copy=False) for class_scores in scores], NO_SCORES)
    return Submission(submission.lists.with_columns(column), submission.segments)
