"""The commands merge, optimize and fuse on the tracked runs of a line-up."""

from scoring.commands.optimize import report_json
from scoring.commands.options import (
    PROGRAM,
    FileFlag,
    FormatFlag,
    NamedWeightsFlag,
    NumberFlag,
    OneFile,
    RunsFlags,
    SearchFlags,
    Split,
    WorkersFlags,
    weights_of,
)
from scoring.fusion.fusion import By
from scoring.fusion.workers import HERE
from scoring.lists.judgments import read_judgments
from scoring.lists.ranked import read_blocks
from scoring.lists.writing import check_lists_output, check_output, write_blocks
from scoring.tracked import logs, stages
from scoring.weights.settings import DEFAULTS
from terminal.cli import typed


def merge(*, runs: RunsFlags, split: Split = "holdout", by: By = "rank", workers: WorkersFlags = HERE) -> None:
    """Merge the shifts of each member of a line-up, and print the folder of its lists.

    Args:
        split: The split whose predictions are merged.
        by: Fusion of ranks with equal weights and k 2.72384689385059, or the mean of scores.
    """
    folders = stages.merge_members(
        runs.experiment,
        runs.lineup,
        split=split,
        members=runs.members(split),
        by=by,
        force=runs.force,
        workers=workers,
    )
    for member, folder in folders.items():
        print(f"{member}: {folder}")


def optimize(
    *,
    runs: RunsFlags,
    judgments: OneFile,
    out: FileFlag = None,
    search: SearchFlags = DEFAULTS,
    by: By = "rank",
    format: FormatFlag = None,
    json: bool = False,
    workers: WorkersFlags = HERE,
) -> None:
    """Search the weights and k of a line-up's members on the holdout, and report how far to trust them.

    Lists are scored by MAP@100K, strict; the search is that of `optimize`.

    Args:
        judgments: CSV or Parquet with the header class_id,segment_id,relevance (relevant if above 0), or TREC qrels;
            the frame store has them as judgments.parquet. Judgments of other splits are left out.
        out: A copy of the run's weights.json to write, with the trials in weights.trials.parquet in the same folder.
        by: How the shifts of each member are merged, as for `merge`.
        format: `trec` for TREC qrels; other formats are known by suffix or content.
        json: Print one JSON object.
    """
    if out:
        for written in (out, out.with_suffix(".trials.parquet")):
            check_output(written, [judgments])
    record = stages.optimize_members(
        runs.experiment,
        runs.lineup,
        members=runs.members("holdout"),
        judgments=read_judgments(judgments, format),
        search=search,
        by=by,
        force=runs.force,
        workers=workers,
    )
    report, trials = stages.report_of(record), record.table("trials.parquet")
    if out:
        stages.weights_of(record).write(out)
        trials.write_parquet(out.with_suffix(".trials.parquet"))
    if json:
        print(report_json(report, trials))
    else:
        print(report.text(typed(PROGRAM, "--shrink", "0.5")))


def fuse(
    *,
    runs: RunsFlags,
    split: Split = "test",
    out: FileFlag = None,
    weights: NamedWeightsFlag = None,
    k_constant: NumberFlag = None,
    judgments: FileFlag = None,
    by: By = "rank",
    format: FormatFlag = None,
    workers: WorkersFlags = HERE,
) -> None:
    """Fuse the members of a line-up, 100,000 segments per class; with judgments, print the report on the ensemble.

    Args:
        split: The split whose members are fused.
        out: A further file to write: .csv, .csv.gz (Kaggle), .parquet (long form), .run (TREC), or a name without
            suffix (coded folder).
        weights: Numbers with the members' names (a=0.3,b=0.7), or a weights.json. Default: the line-up's newest.
        k_constant: The k of the formula. Default: that of the weights.
        judgments: Judgments to measure the ensemble on: header class_id,segment_id,relevance, or TREC qrels.
        by: How the shifts of each member are merged, as for `merge`.
        format: `trec` for TREC qrels; other formats are known by suffix or content.
    """
    if out:
        check_lists_output(out, [] if judgments is None else [judgments])
    members = runs.members(split)
    record = stages.fuse_members(
        runs.experiment,
        runs.lineup,
        split=split,
        members=members,
        judgments=None if judgments is None else read_judgments(judgments, format),
        by=by,
        force=runs.force,
        weights=None if weights is None else weights_of(weights, members=members, has_order=False),
        k=k_constant,
        workers=workers,
    )
    if out:
        lists = stages.fused_lists(record)
        write_blocks(read_blocks(lists), None if out.suffix else lists.segments, out)
    if judgments:
        print(stages.report_of(record).text(logs.shrink_command(runs.experiment, runs.lineup, str(judgments))))
    print(f"fused lists: {out or record.artifact('submission.csv')}")
