"""The command merge."""

from scoring.commands.options import NO_RUNS, ByRuns, ByWorkers, FileFlag, Split, Submissions, refuse, target
from scoring.fusion.fusion import By, merge_blocks
from scoring.fusion.workers import HERE, merge_in_blocks
from scoring.lists.ids import union_of_segments
from scoring.lists.opening import open_submissions
from scoring.lists.progress import shown
from scoring.lists.writing import write_blocks


def merge(
    submission: Submissions = (),
    out: FileFlag = None,
    by: By = "rank",
    split: Split | None = None,
    workers: ByWorkers = HERE,
    runs: ByRuns = NO_RUNS,
) -> None:
    """Merge the shifts of a member: by files into one, or of each member of a line-up by its runs.

    Args:
        submission: One submission (predictions) a shift.
        out: What to write: .csv, .csv.gz (Kaggle), .parquet (long form), or a name without suffix (coded folder).
        by: Fusion of ranks with equal weights and k 2.72384689385059, or the mean of scores (coded predictions only).
        split: With --experiment: the split whose predictions are merged. Default: holdout.
    """
    if not submission:
        from scoring.commands import tracked

        refuse("every member is merged into lists of its own, whose places are printed", out=out)
        tracked.merge(runs, split or "holdout", by, workers)
        return
    runs.refuse_beside_files(split=split)
    path = target(out)
    sources = list(open_submissions(submission).values())
    segments = None if path.suffix else union_of_segments([source.segments for source in sources])
    blocks = merge_in_blocks(submission, by, workers) if workers.elsewhere else merge_blocks(sources, by)
    write_blocks(shown(blocks, sources, "merge"), segments, path)
