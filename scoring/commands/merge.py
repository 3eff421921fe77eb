"""The command merge, on files."""

from scoring.commands.options import FormatFlag, OutFlag, Submissions, TagFlag, WorkersFlags
from scoring.commands.output import output, say, write_lists
from scoring.fusion.fusion import By
from scoring.fusion.workers import HERE, merge_in_blocks
from scoring.lists.opening import open_submissions
from scoring.lists.trec import TAG
from scoring.lists.writing import is_run
from terminal.cli import counted


def merge(
    submission: Submissions,
    *,
    out: OutFlag,
    by: By = "rank",
    format: FormatFlag = None,
    tag: TagFlag = TAG,
    workers: WorkersFlags = HERE,
) -> None:
    """Merge the shifts of a member into one submission. `tracked merge` merges those of a line-up's members.

    Args:
        submission: One submission (predictions) per shift: coded folders, Kaggle CSVs (header Class,Segments), Parquet
            files (class_id, segment_id, rank) or TREC runs. `-` is standard input.
        out: File to write: .csv, .csv.gz (Kaggle), .parquet (long form), .run, .run.gz (TREC, with the merged scores),
            or a name without suffix (coded folder). `-` is standard output: a Kaggle CSV, or with --format trec a run.
        by: Fusion of ranks with equal weights and k 2.72384689385059, or the mean of scores (coded predictions only).
        format: `trec` for TREC runs; other formats are known by suffix or content.
        tag: The last field of the lines of a TREC run.
    """
    with output(out, submission, format, tag=tag) as path:
        sources = open_submissions(submission, format)
        blocks = merge_in_blocks(list(sources.values()), by=by, keep_scores=is_run(path), workers=workers)
        written = write_lists(blocks, sources, path, label="merge", tag=tag)
    say(f"{counted(len(sources), 'submission')} merged into {out}: {written}", out)
