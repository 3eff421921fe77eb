"""Ranked lists in memory: segments as integer codes, coding and recoding, ranking by score.

The code of a segment is its row among the ids sorted as UTF-8 bytes, so that comparing codes is comparing ids, and a
list is an array of integers.
"""

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import polars as pl

from scoring.lists.ids import (
    NO_SEGMENTS,
    check_segments,
    code_ids,
    find_codes,
    first_places,
    known_codes,
    share_table,
)
from videos.judgments import rows_by_class

log = logging.getLogger(__name__)

K = 100_000  # the competition's cut of every list
BLOCK = 5  # classes of coded lists in memory at a time
NO_CODES = pl.Series("segments", [], dtype=pl.List(pl.UInt32))
NO_SCORES = pl.Series("scores", [], dtype=pl.List(pl.Float32))
ClassId: TypeAlias = Any  # an int, or a str where classes have names (`classes.py`)


def class_series(classes: Sequence[ClassId]) -> pl.Series:
    """Class ids as a column: String for names, otherwise UInt16."""
    names = any(isinstance(class_id, str) for class_id in classes[:1])
    return pl.Series("class_id", classes, dtype=pl.String if names else pl.UInt16)


def class_slices(classes: pl.Series) -> dict[ClassId, slice]:
    """The rows of each class in a column that is sorted by class."""
    return rows_by_class(classes.alias("class_id").to_frame()) if len(classes) else {}


class RankedLists(Protocol):
    """Ranked lists that can be read a few classes at a time: a `Submission`, or a file that was opened."""

    @property
    def classes(self) -> list[ClassId]: ...

    @property
    def segments(self) -> pl.Series: ...

    @property
    def block(self) -> int:
        """How many classes are best read at a time."""
        ...

    def read(self, class_ids: Sequence[ClassId]) -> "Submission": ...

    def find(self, wanted: Mapping[ClassId, pl.Series]) -> dict[ClassId, np.ndarray]:
        """The rank of each of these ids in the list of its class, from 1; 0 where it is not there (u32). Classes that
        there are not are left out."""
        ...


@dataclass(frozen=True)
class Submission:
    """Ranked lists of all classes.

    `lists` has one row a class, ascending: class_id u16, segments list[u32] (codes, best first, each once), for
    predictions also scores list[f32]. An empty list is a class with nothing retrieved. `segments` are the ids, sorted
    as UTF-8 bytes; the code is the row.
    """

    lists: pl.DataFrame
    segments: pl.Series
    block = BLOCK

    @property
    def classes(self) -> list[ClassId]:
        return self.lists["class_id"].to_list()

    def read(self, class_ids: Sequence[ClassId]) -> "Submission":
        """The submission of these classes alone; classes that it lacks are left out."""
        wanted = pl.Series(class_ids, dtype=self.lists["class_id"].dtype)
        return Submission(self.lists.filter(pl.col("class_id").is_in(wanted.implode())), self.segments)

    def find(self, wanted: Mapping[ClassId, pl.Series]) -> dict[ClassId, np.ndarray]:
        lists = dict(self.read(list(wanted)).ranked())
        known, meaning = known_codes(pl.concat([NO_SEGMENTS, *(wanted[class_id] for class_id in lists)]), self.segments)
        found, start = {}, 0
        for class_id, codes in lists.items():
            own = slice(start, start := start + len(wanted[class_id]))
            found[class_id] = np.zeros(own.stop - own.start, dtype=np.uint32)
            found[class_id][known[own]] = find_codes(meaning[own][known[own]], codes)
        return found

    def ranked(self) -> Iterator[tuple[ClassId, np.ndarray]]:
        """Every class with its ranked codes (u32)."""
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
    """The submission whose class c ranks the codes `codes[c]`, best first."""
    classes = sorted(codes)
    lists = pl.DataFrame(
        {
            "class_id": class_series(classes),
            "segments": list_column([codes[c].astype(np.uint32, copy=False) for c in classes], NO_CODES),
        }
    )
    return Submission(lists, segments)


def list_column(rows: Sequence[pl.Series | np.ndarray], like: pl.Series) -> pl.Series:
    """A column of lists with the name and type of another one. `pl.Series(rows)` makes arrays of equally long rows."""
    return pl.concat([like.clear(), *(pl.Series(like.name, row).implode() for row in rows)])


def from_ids(ids: Mapping[ClassId, pl.Series], source: str = "the lists") -> Submission:
    """The submission whose class c ranks the segment ids `ids[c]`.

    A segment given twice in a list keeps its first place; a line in the log, naming `source`, counts these. ValueError
    for an empty id.
    """
    codes, segments = code_ids(list(ids.values()))
    check_segments(segments.head(1), source)
    return from_repeating(dict(zip(ids, codes, strict=True)), segments, Repeats(source))


def from_repeating(codes: Mapping[ClassId, np.ndarray], segments: pl.Series, repeats: "Repeats") -> Submission:
    """`from_codes` of lists that may give a segment twice: its first place counts, and a line in the log says so."""
    ranked, found = {}, {}
    for class_id, of_class in codes.items():
        places = first_places(of_class, len(segments))
        ranked[class_id] = of_class if places is None else of_class[places]
        found[class_id] = len(of_class) - len(ranked[class_id])
    repeats.tell(found)
    return from_codes(ranked, segments)


class Repeats:
    """Says once of a source that its lists give segments twice, however often and by how many threads it is read."""

    def __init__(self, source: str):
        self._source, self._lock, self._told = source, threading.Lock(), False

    def tell(self, found: Mapping[ClassId, int]) -> None:
        """`found`: how many segments of a class stand there again."""
        class_id, count = max(found.items(), key=lambda item: item[1], default=(0, 0))
        with self._lock:
            told, self._told = self._told or not count, self._told or count > 0
        if not told:
            log.warning(
                "%s: %d segments of class %s stand in a list for the second time; the first place counts, everywhere",
                *(self._source, count, class_id),
            )


def share_segments(submissions: Sequence[Submission]) -> list[Submission]:
    """The same submissions over one table of segments, so that a code means the same segment in all of them."""
    codes, segments = share_table([submission.segments for submission in submissions])
    return [recode(one, segments, own_codes) for one, own_codes in zip(submissions, codes, strict=True)]


def recode(submission: Submission, segments: pl.Series, codes: np.ndarray | None) -> Submission:
    """The same lists over the table `segments`, where the rows of the old table have these codes (None: the same)."""
    if codes is None:
        return Submission(submission.lists, segments)
    ranked = {class_id: codes[own] for class_id, own in submission.ranked()}
    lists = from_codes(ranked, segments).lists
    return Submission(submission.lists.with_columns(lists["segments"]), segments)


def codes_in(table: pl.Series, segments: pl.Series) -> np.ndarray | None:
    """The codes in `segments` of the ids of a smaller table (sorted, all of them in it); None for the same table."""
    return None if table is segments else segments.search_sorted(table).to_numpy()


def class_blocks(sources: Iterable[RankedLists]) -> Iterator[list[ClassId]]:
    """The classes of all sources, ascending, in blocks of as many as may be in memory at a time."""
    sources = list(sources)
    classes = sorted(set().union(*(source.classes for source in sources)))
    size = max((source.block for source in sources), default=BLOCK)
    for start in range(0, len(classes), size):
        yield classes[start : start + size]


def read_blocks(source: RankedLists) -> Iterator[Submission]:
    """A submission in blocks of classes."""
    return (source.read(class_ids) for class_ids in class_blocks([source]))


@dataclass(frozen=True)
class Part:
    """Some classes of ranked lists that are not read yet: ids can be found in them without coding them all."""

    source: RankedLists
    classes: list[ClassId]

    def find(self, wanted: Mapping[ClassId, pl.Series]) -> dict[ClassId, np.ndarray]:
        chosen = set(self.classes)
        return self.source.find({class_id: ids for class_id, ids in wanted.items() if class_id in chosen})


def parts(source: RankedLists) -> Iterator[Part]:
    """A submission in blocks of classes that are not read yet."""
    return (Part(source, class_ids) for class_ids in class_blocks([source]))


def with_scores(submission: Submission, scores: Sequence[np.ndarray]) -> Submission:
    """The same lists with the scores of their segments, one array a class in the order of the classes."""
    column = list_column([class_scores.astype(np.float32, copy=False) for class_scores in scores], NO_SCORES)
    return Submission(submission.lists.with_columns(column), submission.segments)
