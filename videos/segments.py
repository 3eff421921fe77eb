"""Segments: the grammar of their ids `<video_id>:<start>`, and the segments of videos."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from videos.dataset import Dataset

SEPARATOR = ":"  # between the video and the start; a video's id holds none


def segment_ids(video_id: str = "video_id", start: str = "start") -> pl.Expr:
    """The ids of segments, from the columns of their videos and of their first frames."""
    return pl.concat_str(video_id, pl.lit(SEPARATOR), start)


def segment_videos(segment_id: str = "segment_id") -> pl.Expr:
    """The videos of a column of segment ids: each id up to its last separator."""
    return pl.col(segment_id).str.replace(f"{SEPARATOR}[^{SEPARATOR}]*$", "")


def segment_starts(segment_id: str = "segment_id") -> pl.Expr:
    """The first frames (i32) of a column of segment ids; null where an id does not end in a number."""
    return pl.col(segment_id).str.extract(rf"{SEPARATOR}(\d+)$").cast(pl.Int32)


def segments_of(videos: pl.DataFrame, dataset: Dataset) -> pl.DataFrame:
    """Every segment of `videos` in the order of the segment ids' UTF-8 bytes: the row is the segment's code.

    Returns the columns of `videos` that locate a video (video_id, file, first_frame, frames) and, for each segment,
    `start` (index of its first frame) and `segment_id` (`<video_id>:<start>`). YouTube-8M: a segment exists where
    start < frames, so that the last may be shorter (`partial_segments`); AudioSet: where it is whole.
    """
    length = dataset.segment_frames
    count = (pl.col("frames") + length - 1) // length if dataset.partial_segments else pl.col("frames") // length
    return (
        videos.select("video_id", "file", "first_frame", "frames")
        .with_columns(start=pl.int_ranges(0, count * length, length, dtype=pl.Int32))
        .explode("start")
        .drop_nulls("start")
        .with_columns(segment_id=segment_ids())
        .sort("segment_id")
    )


def has_videos(pairs: pl.DataFrame) -> bool:
    """Whether every id of `pairs` is `<video_id>:<start>`; a web address, whose colon no integer follows, is not."""
    return pairs["segment_id"].str.contains(rf"^[^{SEPARATOR}]+{SEPARATOR}\d+$").all()


def videos_of(pairs: pl.DataFrame) -> pl.Series:
    """The video of each pair."""
    return pairs.select(segment_videos()).to_series()


def video_blocks(segments: pl.DataFrame, size: int) -> Iterator[np.ndarray]:
    """Rows of `segments` in order, in blocks of about `size` that end where a video ends."""
    videos = segments["video_id"]
    ends = np.append(np.flatnonzero((videos != videos.shift(1)).fill_null(True).to_numpy())[1:], len(segments))
    first = 0
    for end in ends:
        if end - first >= size or end == len(segments):
            yield np.arange(first, end)
            first = int(end)
