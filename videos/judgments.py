"""Judgments (qrels): whether a class occurs in a segment. A pair that is not listed is unjudged."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import polars as pl

from videos.segments import has_videos, videos_of

JUDGMENTS = pl.Schema({"class_id": pl.UInt16, "segment_id": pl.String, "relevance": pl.Int16})
Unit = Literal["video", "class"]  # what is resampled or split into halves


@dataclass(frozen=True)
class Judgments:
    """Judged pairs (class, segment), checked when created.

    `pairs` has class_id u16 (str if classes have names), segment_id str, relevance i16, sorted by class and segment,
    each pair once (the last one given). A pair is positive if its relevance is above 0, and unjudged, so left out, if
    it is below 0. ValueError if there is no positive, since MAP is then undefined, or if `given_unit` is "video" and an
    id is not `<video_id>:<start>`.
    """

    pairs: pl.DataFrame
    given_unit: Unit | None = None

    def __post_init__(self) -> None:
        names = self.pairs["class_id"].dtype == pl.String
        schema = pl.Schema({**JUDGMENTS, "class_id": pl.String}) if names else JUDGMENTS
        pairs = last_of_pairs(self.pairs.select(*JUDGMENTS).cast(schema))
        object.__setattr__(self, "pairs", pairs)
        if not (pairs["relevance"] > 0).any():
            raise ValueError("the judgments have no positive (relevance above 0), so there is no MAP; check the file")
        if self.given_unit == "video" and not has_videos(self.pairs):
            raise ValueError("not every id is <video_id>:<start>, so videos cannot be the unit; say --unit class")

    @cached_property
    def scored(self) -> pl.DataFrame:
        """The pairs of the classes with a positive, over which MAP is averaged."""
        return self.pairs.filter((pl.col("relevance") > 0).any().over("class_id"))

    @cached_property
    def classes(self) -> pl.Series:
        """The classes with a positive, ascending (u16)."""
        return self.scored["class_id"].unique().sort()

    @cached_property
    def positives(self) -> np.ndarray:
        """The number of positives of each of `classes`."""
        return np.bincount(self.scored["class_id"].rle_id().filter(self.scored["relevance"] > 0).to_numpy())

    @cached_property
    def unit(self) -> Unit:
        """`given_unit`; if None, "video" if every id is `<video_id>:<start>`, else "class"."""
        return self.given_unit or ("video" if has_videos(self.pairs) else "class")

    @cached_property
    def units(self) -> np.ndarray:
        """The number, from 0, of the unit (video or class) of each pair of `scored`."""
        names = videos_of(self.scored) if self.unit == "video" else self.scored["class_id"]
        return names.rank("dense").to_numpy().astype(np.int64) - 1

    @property
    def unit_count(self) -> int:
        """The number of videos or classes of `scored`."""
        return int(self.units.max()) + 1

    def at_level(self, level: int) -> "Judgments":
        """The same judgments with positive relevances below `level` set to 0."""
        too_low = (self.pairs["relevance"] > 0) & (self.pairs["relevance"] < level)
        relevance = pl.when(too_low).then(0).otherwise("relevance").cast(JUDGMENTS["relevance"]).alias("relevance")
        return Judgments(self.pairs.with_columns(relevance), self.given_unit)

    def within(self, segments: pl.Series) -> "Judgments":
        """The judgments of these segments only; ValueError if none of them is judged."""
        pairs = self.pairs.join(segments.alias("segment_id").to_frame(), on="segment_id", how="semi")
        if pairs.is_empty():
            raise ValueError("no judged segment was predicted; give the judgments of the split that was predicted")
        return Judgments(pairs, self.given_unit)


def last_of_pairs(judgments: pl.DataFrame) -> pl.DataFrame:
    """The last judgment of each pair (class, segment), sorted; pairs with a relevance below 0 are left out."""
    last = judgments.unique(["class_id", "segment_id"], keep="last", maintain_order=True)
    return last.filter(pl.col("relevance") >= 0).sort("class_id", "segment_id")


def rows_by_class(pairs: pl.DataFrame) -> dict[int, slice]:
    """The rows of each class in a table sorted by class."""
    runs = pairs["class_id"].rle().struct.unnest()
    ends = runs["len"].cum_sum()
    return dict(zip(runs["value"], map(slice, ends - runs["len"], ends), strict=True))
