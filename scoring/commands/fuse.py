"""The command fuse."""

from scoring.commands.options import (
    NO_RUNS,
    ByRuns,
    ByWorkers,
    FileFlag,
    FormatFlag,
    NumberFlag,
    Split,
    Submissions,
    WeightsFlag,
    _warn_of_missing_classes,
    at_least_one,
    refuse,
    target,
    weights_of,
)
from scoring.fusion.fusion import MEMBER_K, By, fuse_blocks
from scoring.fusion.workers import HERE, fuse_in_blocks
from scoring.lists.ids import union_of_segments
from scoring.lists.opening import member_name, open_submissions
from scoring.lists.progress import shown
from scoring.lists.ranked import K
from scoring.lists.writing import write_blocks


def fuse(
    submission: Submissions = (),
    out: FileFlag = None,
    weights: WeightsFlag = None,
    k_constant: NumberFlag = None,
    top: int = K,
    format: FormatFlag = None,
    log: bool = False,
    split: Split | None = None,
    judgments: FileFlag = None,
    by: By | None = None,
    workers: ByWorkers = HERE,
    runs: ByRuns = NO_RUNS,
) -> None:
    """Fuse ranked lists: a segment earns weight / (k + rank) from each submission that lists it.

    Memory does not grow with the number of classes. Equal scores order by ascending segment id.

    Args:
        submission: Kaggle CSVs, Parquet files, coded folders or TREC runs, one a member.
        out: What to write: .csv, .csv.gz (Kaggle), .parquet (long form), or a name without suffix (coded folder).
        weights: Numbers in the order of the submissions, such as 0.2,0.5,0.3, or a weights.json, whose members go by
            the files' names. Default: equal; with --experiment: the line-up's newest.
        k_constant: The k of the formula. Default: that of weights.json, else 5.058430980648939.
        top: How many segments of each class to keep.
        format: `trec` for TREC runs; other formats are known by their suffix.
        log: Log it as a run, too, with what was written.
        split: With --experiment: the split whose members are fused. Default: test.
        judgments: With --experiment: judgments to measure the ensemble on.
        by: With --experiment: how the shifts of each member are merged, as for `merge`. Default: rank.
    """
    if not submission:
        from scoring.commands import tracked

        refuse("tracked ensembles keep 100,000 segments a class, as the competition does", top=top != K)
        refuse("tracked runs are logged in any case", log=log)
        tracked.fuse(runs, split or "test", out, weights, k_constant, judgments, format, by or "rank", workers)
        return
    runs.refuse_beside_files(split=split, judgments=judgments, by=by)
    at_least_one("top", top)
    path = target(out)
    sources = open_submissions(submission, format)
    given = None if weights is None else weights_of(weights, list(sources))
    shares, k = (None, MEMBER_K) if given is None else (given.weights, given.k)
    k = k if k_constant is None else k_constant
    _warn_of_missing_classes(sources)
    segments = None if path.suffix else union_of_segments([source.segments for source in sources.values()])
    if workers.elsewhere:
        blocks = fuse_in_blocks(submission, format, shares, k, top, workers)
    else:
        blocks = fuse_blocks(sources, shares, k, top)
    blocks = shown(blocks, sources.values(), "fuse")
    write_blocks(blocks, segments, path)
    if log:
        from scoring.tracked import logs

        params = {"members": ", ".join(sources), "weights": shares or "equal", "k": k, "top": top}
        logs.log_files(f"fuse {member_name(path)}", "fuse", params, {}, [path])
