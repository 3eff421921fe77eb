"""Segments: the format of their ids, `<video_id>:<start>`, and the segments of videos."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from videos.dataset import Dataset

SEPARATOR = ":"  # between the video's id, which must not contain it, and the start


def segment_ids(video_id: str = "video_id", start: str = "start") -> pl.Expr:
    """Segment ids from columns of video ids and first frames."""
    return pl.concat_str(video_id, pl.lit(SEPARATOR), start)


def segment_videos(segment_id: str = "segment_id") -> pl.Expr:
    """The video ids of a column of segment ids: each id up to its last separator."""
    return pl.col(segment_id).str.replace(f"{SEPARATOR}[^{SEPARATOR}]*$", "")


def segment_starts(segment_id: str = "segment_id") -> pl.Expr:
    """The first frames (i32) of a column of segment ids; null where an id does not end in a number."""
    return pl.col(segment_id).str.extract(rf"{SEPARATOR}(\d+)$").cast(pl.Int32)


def segments_of(videos: pl.DataFrame, dataset: Dataset) -> pl.DataFrame:
    """All segments of `videos`, sorted by the UTF-8 bytes of their ids; the row number is the segment's code.

    Returns video_id, file, first_frame and frames of each segment's video, `start` (index of the segment's first
    frame) and `segment_id`. With `partial_segments` (YouTube-8M) the last segment of a video may be shorter; otherwise
    (AudioSet) only whole segments exist.
    """
    length = dataset.segment_frames
    return (
        videos.select("video_id", "file", "first_frame", "frames")
        .with_columns(start=pl.int_ranges(0, _segment_count(dataset) * length, length, dtype=pl.Int32))
        .explode("start")
        .drop_nulls("start")
        .with_columns(segment_id=segment_ids())
        .sort("segment_id")
    )


def rankable(dataset: Dataset) -> pl.Expr:
    """Whether a row of `segments_of` is to be ranked: all but those in the dataset's `unrated_ends`."""
    first, last = dataset.unrated_ends
    number = pl.col("start") // dataset.segment_frames
    return (number >= first) & (number < _segment_count(dataset) - last)


def _segment_count(dataset: Dataset) -> pl.Expr:
    length = dataset.segment_frames
    return (pl.col("frames") + length - 1) // length if dataset.partial_segments else pl.col("frames") // length


def has_videos(pairs: pl.DataFrame) -> bool:
    """Whether every id of `pairs` is `<video_id>:<start>`; a web address, whose colon no integer follows, is not."""
    return pairs["segment_id"].str.contains(rf"^[^{SEPARATOR}]+{SEPARATOR}\d+$").all()


def videos_of(pairs: pl.DataFrame) -> pl.Series:
    """The video id of each pair."""
    return pairs.select(segment_videos()).to_series()


def video_blocks(segments: pl.DataFrame, size: int) -> Iterator[np.ndarray]:
    """The row numbers of `segments` in blocks of at least `size` rows; no video is divided between two blocks.

    The last block is smaller, and there is none without segments.
    """
    videos = segments["video_id"]
    ends = np.append(np.flatnonzero((videos != videos.shift(1)).fill_null(True).to_numpy())[1:], len(segments))
    first = 0
    for end in ends:
        if end > first and (end - first >= size or end == len(segments)):
            yield np.arange(first, end)
            first = int(end)
