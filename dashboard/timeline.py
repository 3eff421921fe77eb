"""One video on a time axis: its ratings, and the scores of a class per member and shift."""

from pathlib import Path

import polars as pl

from tracking.runs import Record
from videos.segments import segment_starts, segment_videos

LARGEST = 64 * 2**20  # bytes of a file of predictions that a page reads
SCHEMA = {"member": pl.String, "shift": pl.Int64, "start": pl.Int32, "rank": pl.UInt32, "score": pl.Float32}


def shift_scores(runs: dict[str, Record], *, class_id: int | str, video: str) -> pl.DataFrame:
    """Score and rank of each segment of a video under each shift: member, shift, start (frames), rank, score.

    `runs` are the infer runs of the holdout by member. ValueError if predictions are too large for a page to read.
    """
    tables = [pl.DataFrame(schema=SCHEMA)]
    for member, run in runs.items():
        files = sorted(run.artifact("predictions").glob("shift*.parquet"))
        for file in files:
            if file.stat().st_size > LARGEST:
                raise ValueError(
                    f"{file.name} has {file.stat().st_size / 2**20:,.0f} MiB, more than a page reads; the lists above "
                    "are the merged ones"
                )
        with run.reading("predictions") as (folder,):
            segments = pl.read_parquet(folder / "segments.parquet")["segment_id"]
            lists = {file: _ranked(file, class_id, segments).filter(segment_videos() == video) for file in files}
        tables += [
            ranked.select(
                pl.lit(member).alias("member"),
                pl.lit(int(file.stem.removeprefix("shift")), pl.Int64).alias("shift"),
                segment_starts().alias("start"),
                "rank",
                "score",
            )
            for file, ranked in lists.items()
        ]
    return pl.concat(tables).sort("member", "shift", "start")


def ratings(pairs: pl.DataFrame, *, class_id: int | str, video: str) -> pl.DataFrame:
    """The judged segments of a video for a class: start (frames), judged ("yes", "no")."""
    rated = pairs.filter((pl.col("class_id") == class_id) & (segment_videos() == video))
    judged = pl.when(pl.col("relevance") > 0).then(pl.lit("yes")).otherwise(pl.lit("no"))
    return rated.select(segment_starts().alias("start"), judged.alias("judged")).sort("start")


def videos(pairs: pl.DataFrame, class_id: int | str) -> list[str]:
    """The videos with a judged segment of a class, those with the most positives first."""
    rated = pairs.filter(pl.col("class_id") == class_id).with_columns(video=segment_videos())
    counted = rated.group_by("video").agg(positives=(pl.col("relevance") > 0).sum(), judged=pl.len())
    return counted.sort("positives", "judged", "video", descending=[True, True, False])["video"].to_list()


def _ranked(file: Path, class_id: int | str, segments: pl.Series) -> pl.DataFrame:
    """The ranked list of a class: segment_id, rank, score."""
    lists = pl.scan_parquet(file).filter(pl.col("class_id") == class_id).select("segments", "scores").collect()
    rows = lists.explode("segments", "scores", empty_as_null=True).drop_nulls("segments")
    return rows.select(
        pl.Series("segment_id", segments.gather(rows["segments"])),
        pl.int_range(1, pl.len() + 1, dtype=pl.UInt32).alias("rank"),
        pl.col("scores").alias("score"),
    )
