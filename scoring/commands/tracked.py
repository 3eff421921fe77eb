"""The commands fuse, optimize and merge where they are given tracked runs (--experiment, --lineup) instead of files."""

from pathlib import Path

import polars as pl

from scoring.commands.options import Runs, Split, weights_of
from scoring.fusion.fusion import By
from scoring.fusion.workers import Workers
from scoring.lists.judgments import read_judgments
from scoring.lists.opening import Format, open_submission
from scoring.lists.ranked import read_blocks
from scoring.lists.writing import write_blocks
from scoring.tracked import logs, stages
from scoring.weights.report import Report
from scoring.weights.weights_json import Weights, read_weights


def fuse(
    runs: Runs,
    split: Split,
    out: Path | None,
    weights: str | None,
    k: float | None,
    judgments: Path | None,
    format: Format | None,
    by: By,
    workers: Workers,
) -> None:
    """Fuse a line-up's members; write the lists to `out` besides, and print what they are worth on the judgments."""
    experiment, lineup, members = runs.of(split)
    fused = stages.fuse_members(
        experiment,
        lineup,
        split,
        members,
        None if judgments is None else read_judgments(judgments, format),
        by,
        runs.force,
        weights=None if weights is None else weights_of(weights, members),
        k=k,
        workers=workers,
    )
    if out:
        lists = open_submission(fused.artifact("lists.parquet"))
        write_blocks(read_blocks(lists), None if out.suffix else lists.segments, out)
    if judgments:
        print(stages.report_of(fused).text(logs.shrink_command(experiment, lineup, str(judgments))))
    print(f"fused lists: {out or fused.artifact('submission.csv')}")


def optimize(
    runs: Runs, judged: pl.DataFrame, trials: int, seed: int, polish: int, shrink: float, by: By
) -> tuple[pl.DataFrame, Report, Weights]:
    """Search the weights of a line-up's members; the trials, the report and the weights."""
    experiment, lineup, members = runs.of("holdout")
    chosen = stages.optimize_members(experiment, lineup, members, judged, trials, seed, polish, by, runs.force, shrink)
    tried = pl.read_parquet(chosen.artifact("trials.parquet"))
    return tried, stages.report_of(chosen), read_weights(chosen.artifact("weights.json"))


def merge(runs: Runs, split: Split, by: By, workers: Workers) -> None:
    """Merge the shifts of each member of a line-up, and print where its lists are."""
    experiment, lineup, members = runs.of(split)
    for member, place in stages.merge_members(experiment, lineup, split, members, by, runs.force, workers).items():
        print(f"{member}: {place}")
