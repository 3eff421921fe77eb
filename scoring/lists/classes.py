"""Class ids: UInt16 if every class id of a file is a canonical integer from 0 to 65535, otherwise names (String).

`051` and `51` are two classes. Integers order by value, names as UTF-8 bytes. All inputs of a command have one type.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from scoring.lists.ranked import BLOCK, ClassId, RankedLists, Submission, class_series
from videos.judgments import Judgments

CANONICAL = "^(0|[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$"


def class_column(names: pl.Series) -> pl.Series:
    """Class names (String, no nulls), cast to UInt16 if all are canonical integers of that type."""
    return names.cast(pl.UInt16) if names.str.contains(CANONICAL).all() else names


def one_type(sources: Sequence[RankedLists]) -> list[RankedLists]:
    """The same lists, with names in all of them if any has names."""
    names = any(map(_has_names, sources))
    return [_named(source) if names and not _has_names(source) else source for source in sources]


def typed_as(source: RankedLists, judgments: Judgments) -> RankedLists:
    """The same lists with class ids of the judgments' type; names are left out if no integer class id equals them."""
    names = judgments.pairs["class_id"].dtype == pl.String
    if names == _has_names(source):
        return source
    if names:
        return _named(source)
    return Renamed(source, {int(c): c for c in sorted(filter(re.compile(CANONICAL).match, source.classes), key=int)})


def _has_names(source: RankedLists) -> bool:
    return any(isinstance(class_id, str) for class_id in source.classes[:1])


def _named(source: RankedLists) -> RankedLists:
    return Renamed(source, {str(class_id): class_id for class_id in sorted(source.classes, key=str)})


@dataclass(frozen=True)
class Renamed:
    """Ranked lists with other class ids: `own` maps the new ids, ascending, to the ids in `source`."""

    source: RankedLists
    own: Mapping[ClassId, ClassId]
    block = BLOCK

    @property
    def classes(self) -> list:
        return list(self.own)

    @property
    def segments(self) -> pl.Series:
        return self.source.segments

    def read(self, class_ids: Sequence[ClassId]) -> Submission:
        names = {self.own[class_id]: class_id for class_id in class_ids if class_id in self.own}
        block = self.source.read(sorted(names))
        lists = block.lists.with_columns(class_series([names[own] for own in block.classes]))
        return Submission(lists.sort("class_id"), block.segments)

    def find(self, wanted: Mapping[ClassId, pl.Series]) -> dict[ClassId, np.ndarray]:
        names = {self.own[class_id]: class_id for class_id in wanted if class_id in self.own}
        ranks = self.source.find({own: wanted[name] for own, name in names.items()})
        return {names[own]: own_ranks for own, own_ranks in ranks.items()}
