"""What MAP loses, and where: oracles that remove one kind of error at a time, and precision by traits of the positives.

After Bolya et al., "TIDE", ECCV 2020, and Alwassel et al., "Diagnosing error in temporal action detectors", ECCV 2018,
for ranked lists of segments. Tables of judged pairs have class_id, segment_id `<video_id>:<start>`, relevance, and rank
(from 1, null if not listed); every class has a positive.
"""

import numpy as np
import polars as pl

from videos.segments import segment_starts, segment_videos

# Judged pairs of relevance 0, by what they confuse; each pair is of one kind.
NEIGHBOUR, MOMENT, VIDEO = "neighbouring segment", "right video, wrong moment", "wrong video"
UNLISTED = "not listed at all"  # positives
ORACLES = (NEIGHBOUR, MOMENT, VIDEO, UNLISTED)

POSITIVES, SHARE, POSITION = "positives of the class", "share of the video", "position in the video"
CLASS_SIZES = (2, 5, 10, 20, 50)  # upper ends of the bins of `POSITIVES`
QUARTERS = ("first quarter", "second quarter", "third quarter", "last quarter")


def with_precisions(pairs: pl.DataFrame) -> pl.DataFrame:
    """The pairs, sorted by class and rank, with `precision` f64: at the rank of each listed positive, 0 for the others.

    Precision counts judged pairs only. Its mean over the positives of a class is the class's AP.
    """
    positive = pl.col("relevance") > 0
    return pairs.sort("class_id", "rank", "segment_id", nulls_last=True).with_columns(
        precision=pl.when(positive & pl.col("rank").is_not_null())
        .then(positive.cum_sum().over("class_id") / pl.int_range(1, pl.len() + 1).over("class_id"))
        .otherwise(0.0)
    )


def map_of(pairs: pl.DataFrame) -> float:
    """MAP of the ranks: the mean over classes of the mean precision at their positives."""
    positives = with_precisions(pairs).filter(pl.col("relevance") > 0)
    return float(np.mean(positives.group_by("class_id").agg(pl.col("precision").mean())["precision"].to_numpy()))


def segment_length(pairs: pl.DataFrame) -> int:
    """Frames from one segment to the next: the greatest common divisor of the judged segments' starts, at least 1."""
    return max(int(np.gcd.reduce(pairs.select(segment_starts()).to_series().to_numpy())), 1)


def with_kinds(pairs: pl.DataFrame) -> pl.DataFrame:
    """The pairs with `kind`: for negatives the kind of error that listing one is, null for positives.

    A negative is a neighbouring segment if the segment before or after it is judged positive for the class, else of the
    wrong moment if any segment of its video is, else of the wrong video.
    """
    length = segment_length(pairs)
    placed = pairs.with_columns(video=segment_videos(), start=segment_starts())
    positives = placed.filter(pl.col("relevance") > 0).select("class_id", "video", "start")
    beside = pl.concat([positives.with_columns(pl.col("start") + step) for step in (-length, length)])
    keys = ["class_id", "video", "start"]
    placed = placed.join(beside.unique().with_columns(beside=True), on=keys, how="left", maintain_order="left")
    videos = positives.select("class_id", "video").unique().with_columns(shown=True)
    placed = placed.join(videos, on=["class_id", "video"], how="left", maintain_order="left")
    kind = (
        pl.when(pl.col("relevance") > 0)
        .then(None)
        .when(pl.col("beside"))
        .then(pl.lit(NEIGHBOUR))
        .when(pl.col("shown"))
        .then(pl.lit(MOMENT))
        .otherwise(pl.lit(VIDEO))
    )
    return pairs.with_columns(placed.select(kind=kind))


def oracles(pairs: pl.DataFrame) -> pl.DataFrame:
    """MAP if one kind of error never happened.

    Negatives of the kind are removed from the lists; positives that are not listed are ranked first. Gains do not add
    up: the errors that remain weigh more or less without the removed ones.

    Returns:
        One row per oracle, in the order of `ORACLES`: oracle, map (with it), gain (over MAP), errors u32 (listed
        negatives of the kind, or positives that are not listed).
    """
    pairs = with_kinds(pairs)
    whole = map_of(pairs)
    listed = pl.col("rank").is_not_null()
    rows = []
    for oracle in ORACLES:
        if oracle == UNLISTED:
            missing = (pl.col("relevance") > 0) & ~listed
            errors = pairs.filter(missing).height
            corrected = pairs.with_columns(rank=pl.when(missing).then(0).otherwise("rank"))
        else:
            errors = pairs.filter(listed & (pl.col("kind") == oracle)).height
            corrected = pairs.filter(pl.col("kind").ne_missing(oracle))
        value = map_of(corrected)
        rows.append((oracle, value, value - whole, errors))
    schema = {"oracle": pl.String, "map": pl.Float64, "gain": pl.Float64, "errors": pl.UInt32}
    return pl.DataFrame(rows, schema, orient="row")


def sensitivity(pairs: pl.DataFrame) -> pl.DataFrame:
    """Mean precision at the positives, by three traits of a positive.

    `POSITIVES`: how many positives its class has. `SHARE`: the positive part of the segments of its video that are
    judged for its class. `POSITION`: the quarter of its start between 0 and the latest judged start of all videos.

    Returns:
        One row per trait and bin that has a positive, in order: trait, bin, positives u32, precision f64.
    """
    placed = with_precisions(pairs).with_columns(video=segment_videos(), start=segment_starts())
    positive = pl.col("relevance") > 0
    latest = max(int(placed["start"].to_numpy().max()), 1)
    traits = placed.with_columns(
        count=positive.sum().over("class_id"),
        share=positive.mean().over("class_id", "video"),
        place=(4 * pl.col("start") // (latest + 1)),
    ).filter(positive)
    ends = (*CLASS_SIZES, None)
    first = (1, *(end + 1 for end in CLASS_SIZES))
    sizes = [f"{low} to {end}" if end else f"{low} or more" for low, end in zip(first, ends, strict=True)]
    bins = {
        POSITIVES: (pl.lit(0) + sum((pl.col("count") > end).cast(pl.Int32) for end in CLASS_SIZES), sizes),
        SHARE: (
            (pl.col("share") * 4).ceil().cast(pl.Int32) - 1,
            ["up to 25 %", "25 to 50 %", "50 to 75 %", "75 to 100 %"],
        ),
        POSITION: (pl.col("place"), QUARTERS),
    }
    tables = []
    for trait, (number, names) in bins.items():
        table = traits.group_by(bin=number).agg(
            positives=pl.len().cast(pl.UInt32), precision=pl.col("precision").mean()
        )
        table = table.sort("bin").with_columns(bin=pl.col("bin").cast(pl.Int64))
        tables.append(
            table.select(
                trait=pl.lit(trait),
                bin=pl.Series([names[row] for row in table["bin"]], dtype=pl.String),
                positives="positives",
                precision="precision",
            )
        )
    return pl.concat(tables)
