"""The command fuse, on files."""

from typing import Annotated

from tyro.conf import arg

from scoring.commands.options import (
    FormatFlag,
    NumberFlag,
    OneFile,
    Submissions,
    WeightsFlag,
    WorkersFlags,
    check_cutoff,
    warn_of_missing_classes,
    weights_of,
)
from scoring.fusion.fusion import MEMBER_K
from scoring.fusion.workers import HERE, fuse_in_blocks
from scoring.lists.ids import union_of_segments
from scoring.lists.opening import member_name, open_submissions
from scoring.lists.progress import shown
from scoring.lists.ranked import K
from scoring.lists.writing import check_output, write_blocks
from terminal.cli import counted


def fuse(
    submission: Submissions,
    *,
    out: OneFile,
    weights: WeightsFlag = None,
    k_constant: NumberFlag = None,
    cutoff: Annotated[int, arg(aliases=["--top"])] = K,
    format: FormatFlag = None,
    log: bool = False,
    workers: WorkersFlags = HERE,
) -> None:
    """Fuse ranked lists: a segment earns weight / (k + rank) from each submission that lists it.

    Memory does not grow with the number of classes. Equal scores are ordered by ascending segment id. `tracked fuse`
    fuses the members of a line-up.

    Args:
        submission: Kaggle CSVs (header Class,Segments), Parquet files (class_id, segment_id, rank), coded folders or
            TREC runs, one per member.
        out: File to write: .csv, .csv.gz (Kaggle), .parquet (long form), or a name without suffix (coded folder).
        weights: Numbers in the order of the submissions (0.2,0.5,0.3), numbers with the files' names (a=0.3,b=0.7), or
            a weights.json, whose members go by the files' names. Default: equal.
        k_constant: The k of the formula. Default: that of weights.json, else 5.058430980648939.
        cutoff: Number of segments written per class.
        format: `trec` for TREC runs; other formats are known by their suffix.
        log: Also log it as a run, with the file written.
    """
    check_cutoff(cutoff)
    check_output(out, submission)
    sources = open_submissions(submission, format)
    given = None if weights is None else weights_of(weights, members=list(sources), has_order=True)
    shares, k = (None, MEMBER_K) if given is None else (given.weights, given.k)
    k = k if k_constant is None else k_constant
    warn_of_missing_classes(sources)
    segments = None if out.suffix else union_of_segments([source.segments for source in sources.values()])
    blocks = fuse_in_blocks(sources, weights=shares, k=k, cutoff=cutoff, workers=workers)
    write_blocks(shown(blocks, sources.values(), "fuse"), segments, out)
    print(f"{counted(len(sources), 'submission')} fused into {out}")
    if log:
        from scoring.tracked import logs

        params = {"members": ", ".join(sources), "weights": shares or "equal", "k": k, "cutoff": cutoff}
        logs.log_files(f"fuse {member_name(out)}", "fuse", params=params, files=[out])
