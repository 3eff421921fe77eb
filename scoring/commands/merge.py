"""The command merge, on files."""

from scoring.commands.options import OneFile, Submissions, WorkersFlags
from scoring.fusion.fusion import By
from scoring.fusion.workers import HERE, merge_in_blocks
from scoring.lists.ids import union_of_segments
from scoring.lists.opening import open_submissions
from scoring.lists.progress import shown
from scoring.lists.writing import check_output, write_blocks
from terminal.cli import counted


def merge(submission: Submissions, *, out: OneFile, by: By = "rank", workers: WorkersFlags = HERE) -> None:
    """Merge the shifts of a member into one submission. `tracked merge` merges those of a line-up's members.

    Args:
        submission: One submission (predictions) per shift.
        out: File to write: .csv, .csv.gz (Kaggle), .parquet (long form), or a name without suffix (coded folder).
        by: Fusion of ranks with equal weights and k 2.72384689385059, or the mean of scores (coded predictions only).
    """
    check_output(out, submission)
    sources = list(open_submissions(submission).values())
    segments = None if out.suffix else union_of_segments([source.segments for source in sources])
    blocks = merge_in_blocks(sources, by=by, workers=workers)
    write_blocks(shown(blocks, sources, "merge"), segments, out)
    print(f"{counted(len(sources), 'submission')} merged into {out}")
