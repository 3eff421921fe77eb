"""Ranked lists in memory: segments as integer codes, coding and recoding, ranking by score.

The code of a segment is its row among the ids sorted as UTF-8 bytes, so that comparing codes is comparing ids, and a
list is an array of integers.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl

log = logging.getLogger(__name__)

K = 100_000  # the competition's cut of every list
BLOCK = 16  # classes of a file in memory at a time


class RankedLists(Protocol):
    """Ranked lists that can be read a few classes at a time: a `Submission`, or a file that was opened."""

    @property
    def classes(self) -> list[int]: ...

    @property
    def segments(self) -> pl.Series: ...

    def read(self, class_ids: Sequence[int]) -> "Submission": ...


@dataclass(frozen=True)
class Submission:
    """Ranked lists of all classes.

    `lists` has one row a class, ascending: class_id u16, segments list[u32] (codes, best first, each once), for
    predictions also scores list[f32]. An empty list is a class with nothing retrieved. `segments` are the ids, sorted
    as UTF-8 bytes; the code is the row.
    """

    lists: pl.DataFrame
    segments: pl.Series

    @property
    def classes(self) -> list[int]:
        return self.lists["class_id"].to_list()

    def read(self, class_ids: Sequence[int]) -> "Submission":
        """The submission of these classes alone; classes that it lacks are left out."""
        return Submission(self.lists.filter(pl.col("class_id").is_in(list(class_ids))), self.segments)

    def ranked(self) -> Iterator[tuple[int, np.ndarray]]:
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


def from_codes(codes: Mapping[int, np.ndarray], segments: pl.Series) -> Submission:
    """The submission whose class c ranks the codes `codes[c]`, best first."""
    classes = sorted(codes)
    lists = pl.DataFrame(
        {
            "class_id": pl.Series(classes, dtype=pl.UInt16),
            "segments": pl.Series([pl.Series(codes[c].astype(np.uint32)) for c in classes], dtype=pl.List(pl.UInt32)),
        }
    )
    return Submission(lists, segments)


def from_ids(ids: Mapping[int, pl.Series], source: str = "the lists") -> Submission:
    """The submission whose class c ranks the segment ids `ids[c]`.

    A segment given twice in a list keeps its first place; a line in the log, naming `source`, counts these.
    """
    flat = pl.concat([pl.Series("segment_id", [], dtype=pl.String), *(s.alias("segment_id") for s in ids.values())])
    segments = flat.unique().sort()
    codes = _codes_of(flat, segments)
    ends = np.cumsum([len(series) for series in ids.values()], dtype=np.int64)
    pieces = np.split(codes, ends[:-1]) if len(ids) else []
    ranked = {c: piece[first_places(piece)] for c, piece in zip(ids, pieces, strict=True)}
    warn_of_repeats(len(flat) - sum(map(len, ranked.values())), source)
    return from_codes(ranked, segments)


def warn_of_repeats(count: int, source: str) -> None:
    if count:
        log.warning("%s: %d segments stand in a list for the second time; the first place counts", source, count)


def first_places(codes: np.ndarray) -> np.ndarray | slice:
    """Index of each code's first place in a list, in list order; everything where no code stands twice."""
    _, first = np.unique(codes, return_index=True)
    return slice(None) if len(first) == len(codes) else np.sort(first)


def share_segments(submissions: Sequence[Submission]) -> list[Submission]:
    """The same submissions over one table of segments, so that a code means the same segment in all of them."""
    tables = [submission.segments for submission in submissions]
    if all(table is tables[0] or table.equals(tables[0]) for table in tables):
        return [Submission(submission.lists, tables[0]) for submission in submissions]
    segments = union_of_segments(tables)
    return [recode(submission, segments) for submission in submissions]


def union_of_segments(tables: Iterable[pl.Series]) -> pl.Series:
    """All ids of these tables, each once, sorted as UTF-8 bytes."""
    return pl.concat([table.alias("segment_id") for table in tables]).unique().sort()


def recode(submission: Submission, segments: pl.Series) -> Submission:
    """The same lists, coded against `segments`, which must hold every id in use (sorted as UTF-8 bytes)."""
    if submission.segments is segments or submission.segments.equals(segments):
        return Submission(submission.lists, segments)
    meaning = _codes_of(submission.segments, segments)
    ranked = {class_id: meaning[codes] for class_id, codes in submission.ranked()}
    lists = from_codes(ranked, segments).lists
    return Submission(submission.lists.with_columns(lists["segments"]), segments)


def _codes_of(ids: pl.Series, segments: pl.Series) -> np.ndarray:
    """The row of each id among `segments` (u32)."""
    table = pl.DataFrame({"segment_id": segments}).with_row_index("code")
    wanted = pl.DataFrame({"segment_id": ids})
    return wanted.join(table, on="segment_id", how="left", maintain_order="left")["code"].to_numpy()


def class_blocks(sources: Iterable[RankedLists]) -> Iterator[list[int]]:
    """The classes of all sources, ascending, in blocks of as many as may be in memory at a time."""
    classes = sorted(set().union(*(source.classes for source in sources)))
    for start in range(0, len(classes), BLOCK):
        yield classes[start : start + BLOCK]


def read_blocks(source: RankedLists) -> Iterator[Submission]:
    """A submission in blocks of classes."""
    return (source.read(class_ids) for class_ids in class_blocks([source]))


def rank_within_class(scores: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k best of `scores` (one class, in code order), best first; equal scores in code order."""
    kept = np.arange(len(scores))
    if len(scores) > k:
        last = np.partition(scores, len(scores) - k)[len(scores) - k] if k else np.inf
        better = scores > last
        level = np.flatnonzero(scores == last)[: k - np.count_nonzero(better)]
        better[level] = True
        kept = np.flatnonzero(better)
    return kept[np.argsort(-scores[kept], kind="stable")]


def rank_scores(scores: np.ndarray, class_ids: Sequence[int], segments: pl.Series, k: int = K) -> Submission:
    """Predictions: the k best segments of each class with their scores, best first; equal scores by ascending id.

    Args:
        scores: (segments, classes) float32, rows in the order of `segments`, columns in the order of `class_ids`.
        segments: ids sorted as UTF-8 bytes.
    """
    if scores.shape != (len(segments), len(class_ids)):
        raise ValueError(f"scores are {scores.shape}, but there are {len(segments)} segments, {len(class_ids)} classes")
    if np.isnan(scores).any():
        raise ValueError("scores hold NaN; a model that predicts NaN cannot be ranked, train it again")
    check_segments(segments, "the table of segments")
    ranked = {class_id: rank_within_class(scores[:, column], k) for column, class_id in enumerate(class_ids)}
    submission = from_codes(ranked, segments)
    best = [pl.Series(scores[ranked[c], list(class_ids).index(c)], dtype=pl.Float32) for c in submission.classes]
    return Submission(
        submission.lists.with_columns(scores=pl.Series(best, dtype=pl.List(pl.Float32))), submission.segments
    )


def check_segments(segments: pl.Series, source: str) -> None:
    """ValueError unless these are distinct ids, sorted as UTF-8 bytes."""
    ids = segments.rename("id").to_frame()
    if segments.dtype != pl.String or segments.null_count():
        raise ValueError(f"{source} must hold strings and no nulls")
    if not ids.select((pl.col("id") > pl.col("id").shift()).all()).item():
        raise ValueError(f"{source} must hold each id once, sorted as UTF-8 bytes; write it with write_submission")
