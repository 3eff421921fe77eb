"""Segments: the grammar of their ids `<video_id>:<start>`, and the segments of videos."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from videos.dataset import Dataset


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
        .with_columns(segment_id=pl.concat_str("video_id", pl.lit(":"), "start"))
        .sort("segment_id")
    )


def has_videos(pairs: pl.DataFrame) -> bool:
    """Whether every segment id names its video (`<video_id>:<start>`)."""
    return pairs["segment_id"].str.contains(":", literal=True).all()


def videos_of(pairs: pl.DataFrame) -> pl.Series:
    """The video of each pair: its segment id up to the last `:`."""
    return pairs["segment_id"].str.replace(r":[^:]*$", "")


def video_blocks(segments: pl.DataFrame, size: int) -> Iterator[np.ndarray]:
    """Rows of `segments` in order, in blocks of about `size` that end where a video ends."""
    videos = segments["video_id"]
    ends = np.append(np.flatnonzero((videos != videos.shift(1)).fill_null(True).to_numpy())[1:], len(segments))
    first = 0
    for end in ends:
        if end - first >= size or end == len(segments):
            yield np.arange(first, end)
            first = int(end)
