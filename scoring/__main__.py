"""`python -m scoring`: evaluate, compare, fuse, optimize, merge, check, published. Works on plain files, anybody's."""

import json as json_format
import logging
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import polars as pl
from tyro.conf import Positional, arg

from scoring.average_precision import Mode
from scoring.cli import counted, main, typed
from scoring.coding import union_of_segments
from scoring.fusion import MEMBER_K, By, fuse_blocks, merge_blocks
from scoring.judgments import read_judgments
from scoring.measuring import compare, evaluate
from scoring.options import (
    NO_RUNS,
    ByRuns,
    ByWorkers,
    FileFlag,
    FormatFlag,
    NumberFlag,
    OneFile,
    OneSubmission,
    Split,
    Submissions,
    WeightsFlag,
    at_least_one,
    refuse,
    target,
    weights_of,
)
from scoring.parallel import HERE, fuse_in_blocks, merge_in_blocks
from scoring.progress import shown
from scoring.ranked import K, RankedLists
from scoring.submission import member_name, open_submission, open_submissions
from scoring.weights import Weights
from scoring.writing import write_blocks

logger = logging.getLogger(__name__)

PROGRAM = "python -m scoring"


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
        from scoring import tracked

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
        from scoring import logs

        params = {"members": ", ".join(sources), "weights": shares or "equal", "k": k, "top": top}
        logs.log_files(f"fuse {member_name(path)}", "fuse", params, {}, [path])


def optimize(
    submission: Submissions = (),
    *,
    judgments: OneFile,
    out: FileFlag = None,
    trials: int = 60,
    seed: int = 0,
    polish: int = 0,
    shrink: float = 0.0,
    k: int = K,
    mode: Mode = "strict",
    format: FormatFlag = None,
    json: bool = False,
    log: bool = False,
    by: By | None = None,
    runs: ByRuns = NO_RUNS,
) -> None:
    """Search the weights and k that fuse submissions to the highest MAP, and say how far to trust them.

    Bayesian optimisation with Ax, warm-started with equal weights, powers of each member's own MAP, and the best
    weights of a smoothed MAP at three k. The result is never worse than equal weights or the best member on these
    judgments; whether that holds on others is what the cross-validated MAP says (weights of a climb of 300 evaluations
    on half of the videos, scored on the other half). A search that was stopped goes on when it is typed again, to the
    same end.

    Args:
        submission: Kaggle CSVs, Parquet files, coded folders or TREC runs, one a member.
        judgments: CSV or Parquet with class_id, segment_id, relevance, or TREC qrels.
        out: The weights.json to write; the trials are written beside it (weights.trials.parquet).
        trials: Weight vectors that the search tries, up to seven warm starts among them.
        seed: The same seed repeats the search.
        polish: Evaluations on top, from the best trial on: a coordinate ascent, then CMA-ES.
        shrink: Draw the found weights toward equal ones: 0 not at all, 0.5 half-way, 1 all the way.
        k: Length at which lists are cut (K of MAP@K).
        mode: What a class with positives that all members lack counts: 0 (strict) or nothing (google).
        format: `trec` for TREC runs and qrels; other formats are known by their suffix.
        json: Print one JSON object.
        log: Log the search as a run, too.
        by: With --experiment: how the shifts of each member are merged, as for `merge`. Default: rank.
    """
    judged = read_judgments(judgments, format)
    if not submission:
        from scoring import tracked

        refuse("tracked ensembles are scored by MAP@100K, strict", k=k != K, mode=mode != "strict")
        refuse("tracked runs are logged in any case", log=log)
        tried, report, weights = tracked.optimize(runs, judged, trials, seed, polish, shrink, by or "rank")
        _write(weights, tried, out)
    else:
        from scoring.reports import search_and_measure

        runs.refuse_beside_files(by=by)
        at_least_one("k", k)
        sources = open_submissions(submission, format)
        _warn_of_missing_classes(sources)
        unfinished = target(out).with_suffix(".trials.jsonl")
        outcome = search_and_measure(sources, judged, unfinished, trials, seed, polish, shrink, k, mode)
        tried, report = outcome.search.trials, outcome.report
        weights = report.weights_file(tried.height)
        _write(weights, tried, out)
        outcome.kept.done()
        if log:
            from scoring import logs

            params = {"judgments": judgments, "trials": trials, "seed": seed, "polish": polish, "shrinkage": shrink}
            params |= {"k_at": k, "mode": mode}
            logs.log_search(f"optimize {member_name(target(out))}", params, outcome, weights)
    if json:
        print(json_format.dumps({**asdict(report), "trials": tried.height, "seconds": tried["seconds"].sum()}))
    else:
        print(report.text(typed(PROGRAM, "--shrink", "0.5")))


def _write(weights: Weights, trials: pl.DataFrame, out: Path | None) -> None:
    if out:
        weights.write(out)
        trials.write_parquet(out.with_suffix(".trials.parquet"))


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
        from scoring import tracked

        refuse("every member is merged into lists of its own, whose places are printed", out=out)
        tracked.merge(runs, split or "holdout", by, workers)
        return
    runs.refuse_beside_files(split=split)
    path = target(out)
    sources = list(open_submissions(submission).values())
    segments = None if path.suffix else union_of_segments([source.segments for source in sources])
    blocks = merge_in_blocks(submission, by, workers) if workers.elsewhere else merge_blocks(sources, by)
    write_blocks(shown(blocks, sources, "merge"), segments, path)


def check(
    submission: OneSubmission,
    data: Annotated[Path, arg(metavar="DIR")],
    split: Split = "test",
    format: FormatFlag = None,
    json: bool = False,
) -> None:
    """Say what a submission lacks or has too much of, before anybody uploads it. Exits with 1 where it has faults.

    Args:
        submission: Kaggle CSV, Parquet, coded folder or TREC run.
        data: Folder of the frame store that tells the scored classes and the segments there are.
        split: The split that the submission ranks.
        format: `trec` for a TREC run; other formats are known by their suffix.
        json: Print one JSON object.
    """
    from scoring.check import check_submission

    found = check_submission(open_submission(submission, format), data, split)
    if json:
        print(json_format.dumps(asdict(found)))
    else:
        for text in (*(f"fault: {fault}" for fault in found.faults), *found.remarks):
            print(text)
        print(
            f"{submission} has {counted(len(found.faults), 'fault')}" if found.faults else f"{submission} is complete"
        )
    if found.faults:
        sys.exit(1)


def published(evaluations: Annotated[Positional[Path], arg(metavar="EVALUATIONS", help_behavior_hint="")]) -> None:
    """Log the original's published weight search as a reference run, to see beside one's own.

    Args:
        evaluations: CSV with evaluation, map, seconds, w0 (k + 1) and the weights w1, w2, ...
    """
    from scoring import logs
    from scoring.published import read_published

    trials = read_published(evaluations)
    run = logs.log_published(evaluations, trials)
    best = trials.sort("map", descending=True, maintain_order=True).row(0, named=True)
    print(
        f"best {best['map']:.5f} at evaluation {best['trial'] + 1} of {trials.height}, "
        f"{trials['seconds'].median():.0f} s an evaluation; run {run.run_id} of the experiment {run.experiment}"
    )


def _warn_of_missing_classes(sources: Mapping[str, RankedLists]) -> None:
    every = set().union(*(source.classes for source in sources.values()))
    for name, source in sources.items():
        if missing := len(every.difference(source.classes)):
            lacking = counted(missing, "class")
            logger.warning("%s lacks %s that others have; it has no vote there", name, lacking)


COMMANDS = {
    "evaluate": evaluate,
    "compare": compare,
    "fuse": fuse,
    "optimize": optimize,
    "merge": merge,
    "check": check,
    "published": published,
}

if __name__ == "__main__":
    main(COMMANDS, PROGRAM, "Score, fuse and weigh ranked lists: anybody's, in plain files.")
