"""The command fuse, on files."""

from typing import Annotated

from tyro.conf import arg

from scoring.commands.options import (
    FormatFlag,
    NumberFlag,
    OutFlag,
    Submissions,
    TagFlag,
    WeightsFlag,
    WorkersFlags,
    check_cutoff,
    warn_of_missing_classes,
    weights_of,
)
from scoring.commands.output import output, say, write_lists
from scoring.fusion.fusion import MEMBER_K
from scoring.fusion.workers import HERE, fuse_in_blocks
from scoring.lists.opening import member_name, open_submissions
from scoring.lists.ranked import K
from scoring.lists.streams import STREAM
from scoring.lists.trec import TAG
from scoring.lists.writing import is_run
from terminal.cli import counted


def fuse(
    submission: Submissions,
    *,
    out: OutFlag,
    weights: WeightsFlag = None,
    k_constant: NumberFlag = None,
    cutoff: Annotated[int, arg(aliases=["--top"])] = K,
    format: FormatFlag = None,
    tag: TagFlag = TAG,
    log: bool = False,
    workers: WorkersFlags = HERE,
) -> None:
    """Fuse ranked lists: a segment earns weight / (k + rank) from each submission that lists it.

    Equal scores are ordered by ascending segment id. Kaggle CSVs and coded folders may be larger than memory; TREC runs
    and long Parquet files are held in memory. `tracked fuse` fuses the members of a line-up.

    Args:
        submission: Kaggle CSVs (header Class,Segments), Parquet files (class_id, segment_id, rank), coded folders or
            TREC runs (topic Q0 document rank score tag), one per member, named as their files. `-` is standard input.
        out: File to write: .csv, .csv.gz (Kaggle), .parquet (long form), .run, .run.gz (TREC, with the fused scores),
            or a name without suffix (coded folder). `-` is standard output: a Kaggle CSV, or with --format trec a run.
        weights: Numbers in the order of the submissions (0.2,0.5,0.3), numbers with the files' names (a=0.3,b=0.7), or
            a weights.json, whose members go by the files' names. Default: equal.
        k_constant: The k of the formula. Default: that of weights.json, else 5.058430980648939.
        cutoff: Number of segments written per class.
        format: `trec` for TREC runs; other formats are known by suffix or content.
        tag: The last field of the lines of a TREC run.
        log: Also log it as a run, with the file written.
    """
    check_cutoff(cutoff)
    if log and out == STREAM:
        raise ValueError("--log logs the file that is written; give --out a name")
    with output(out, submission, format, tag=tag) as path:
        sources = open_submissions(submission, format)
        given = None if weights is None else weights_of(weights, members=list(sources), has_order=True)
        shares, k = (None, MEMBER_K) if given is None else (given.weights, given.k)
        k = k if k_constant is None else k_constant
        warn_of_missing_classes(sources)
        blocks = fuse_in_blocks(sources, weights=shares, k=k, cutoff=cutoff, keep_scores=is_run(path), workers=workers)
        written = write_lists(blocks, sources, path, label="fuse", tag=tag)
    say(f"{counted(len(sources), 'submission')} fused into {out}: {written}", out)
    if log:
        from scoring.tracked import logs

        params = {"members": ", ".join(sources), "weights": shares or "equal", "k": k, "cutoff": cutoff}
        logs.log_files(f"fuse {member_name(out)}", "fuse", params=params, files=[out])
