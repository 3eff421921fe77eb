"""Judgments: which segments contain which class, as far as anybody has looked. A pair that is not there is unjudged."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import polars as pl

from videos.segments import has_videos, videos_of

JUDGMENTS = pl.Schema({"class_id": pl.UInt16, "segment_id": pl.String, "relevance": pl.Int16})
Unit = Literal["videos", "topics"]


@dataclass(frozen=True)
class Judgments:
    """Judged pairs (class, segment), checked when made.

    `pairs` has class_id u16 (or str, if classes have names), segment_id str, relevance i16: each pair once (the last
    one given), sorted by class and segment. A pair is positive if its relevance is above 0, and unjudged, so left out,
    if it is below 0. ValueError if there is no positive, since MAP is then undefined.
    """

    pairs: pl.DataFrame

    def __post_init__(self) -> None:
        names = self.pairs["class_id"].dtype == pl.String
        schema = pl.Schema({**JUDGMENTS, "class_id": pl.String}) if names else JUDGMENTS
        pairs = last_of_pairs(self.pairs.select(*JUDGMENTS).cast(schema))
        object.__setattr__(self, "pairs", pairs)
        if not (pairs["relevance"] > 0).any():
            raise ValueError("the judgments hold no positive (relevance above 0), so there is no MAP; check the file")

    @cached_property
    def scored(self) -> pl.DataFrame:
        """The pairs of the classes with a positive, which are those that MAP averages over."""
        return self.pairs.filter((pl.col("relevance") > 0).any().over("class_id"))

    @cached_property
    def classes(self) -> pl.Series:
        """The classes with a positive, ascending (u16)."""
        return self.scored["class_id"].unique().sort()

    @cached_property
    def unit(self) -> Unit:
        """What is resampled and halved: videos, or topics (classes) if the ids of `scored` name no video."""
        return "videos" if has_videos(self.scored) else "topics"

    @property
    def units(self) -> pl.Series:
        """The unit of each pair of `scored`: its video or its class."""
        return units_of(self.scored)

    def within(self, segments: pl.Series) -> "Judgments":
        """The judgments of these segments alone; ValueError if none of them is judged."""
        pairs = self.pairs.join(segments.alias("segment_id").to_frame(), on="segment_id", how="semi")
        if pairs.is_empty():
            raise ValueError("no judged segment was predicted; give the judgments of the split that was predicted")
        return Judgments(pairs)


def units_of(pairs: pl.DataFrame) -> pl.Series:
    """The unit of resampling of each pair: its video if all ids name one, otherwise its class."""
    return videos_of(pairs) if has_videos(pairs) else pairs["class_id"]


def last_of_pairs(judgments: pl.DataFrame) -> pl.DataFrame:
    """Each judged (class, segment) once, with its last relevance, sorted; a relevance below 0 is unjudged."""
    last = judgments.unique(["class_id", "segment_id"], keep="last", maintain_order=True)
    return last.filter(pl.col("relevance") >= 0).sort("class_id", "segment_id")


def rows_by_class(pairs: pl.DataFrame) -> dict[int, slice]:
    """Where the pairs of each class stand in a table that is sorted by class."""
    classes, counts = pairs["class_id"].rle().struct.unnest().select("value", "len").get_columns()
    ends = counts.cum_sum().to_list()
    starts = [0, *ends[:-1]]
    return dict(zip(classes.to_list(), map(slice, starts, ends), strict=True))
