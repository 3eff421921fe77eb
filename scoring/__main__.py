"""`python -m scoring`: evaluate, fuse, optimize, merge, check, published. Works on plain files, anybody's."""

import json as json_format
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from tyro.conf import OmitArgPrefixes, Positional, UseAppendAction, arg

from scoring.average_precision import Mode, evaluate_blocks
from scoring.cli import main
from scoring.coding import union_of_segments
from scoring.fusion import MEMBER_K, By, fuse_blocks, merge_blocks
from scoring.judgments import read_judgments
from scoring.parallel import HERE, Workers, evaluate_in_blocks, fuse_in_blocks
from scoring.ranked import K, RankedLists, class_blocks, parts
from scoring.submission import Format, member_name, open_submission, open_submissions, write_blocks
from scoring.weights import read_weights

logger = logging.getLogger(__name__)

T = TypeVar("T")
Split = Literal["holdout", "test"]
OneFile = Annotated[Path, arg(metavar="FILE")]
Submissions = Annotated[Positional[tuple[Path, ...]], arg(metavar="SUBMISSION...", help_behavior_hint="")]
# A hint of `None` tells nothing: the help says what happens without the flag.
FileFlag = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")]
FormatFlag = Annotated[Format | None, arg(metavar="trec", help_behavior_hint="")]
Name = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")]


@dataclass(frozen=True)
class Runs:
    """Instead of files: the tracked runs of a line-up."""

    experiment: Name = None
    """Experiment that holds the runs: the dataset's name."""
    lineup: Name = None
    """Line-up whose members are meant."""
    member: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME")] = ()
    """A member; may be given several times. Default: all of the line-up that have predicted the split."""
    force: bool = False
    """Do it again even if it has been done."""

    def of(self, split: str) -> tuple[str, str, Sequence[str]]:
        """Experiment, line-up and members."""
        from scoring import stages

        if self.experiment is None or self.lineup is None:
            raise ValueError("give submissions, or --experiment and --lineup to take those of tracked runs")
        members = self.member or stages.predicted_members(self.experiment, self.lineup, split)
        return self.experiment, self.lineup, members


ByRuns = OmitArgPrefixes[Runs]
ByWorkers = OmitArgPrefixes[Workers]


def evaluate(
    submission: Annotated[Positional[Path], arg(metavar="SUBMISSION", help_behavior_hint="")],
    judgments: Annotated[Positional[Path], arg(metavar="JUDGMENTS", help_behavior_hint="")],
    k: int = K,
    mode: Mode = "strict",
    format: FormatFlag = None,
    json: bool = False,
    log: bool = False,
    workers: ByWorkers = HERE,
) -> None:
    """Print MAP@K of a submission.

    Each list is cut at K, segments that nobody judged are dropped, and the average precision of what is left is divided
    by all positives of the class. Classes without a positive do not count.

    Args:
        submission: Kaggle CSV, Parquet, coded folder or TREC run.
        judgments: CSV or Parquet with class_id, segment_id, relevance, or TREC qrels. Positive is relevance above 0.
        k: Length at which each list is cut.
        mode: What a class with positives that the submission lacks counts: 0 (strict) or nothing (google).
        format: `trec` for TREC runs and qrels; other formats are known by their suffix.
        json: Print one JSON object.
        log: Log the result as a run, too.
    """
    _at_least_one("k", k)
    lists, judged = open_submission(submission, format), read_judgments(judgments, format)
    if workers.elsewhere:
        evaluation = evaluate_in_blocks(submission, format, judged, k, mode, workers)
    else:
        evaluation = evaluate_blocks(_shown(parts(lists), [lists], "evaluate"), judged, k, mode)
    if not evaluation.retrieved:
        logger.warning("no judged pair is in %s; check that both files are of the same data", submission)
    totals = {
        "map": evaluation.map,
        "classes": evaluation.classes,
        "positives": evaluation.positives,
        "judged": evaluation.judged,
        "retrieved": evaluation.retrieved,
    }
    if json:
        per_class = {str(class_id): ap for class_id, ap, _ in evaluation.per_class.iter_rows()}
        print(json_format.dumps({**totals, "per_class": per_class}))
    else:
        print(f"MAP@{k} {evaluation.map:.6f} over {evaluation.classes:,} classes ({mode})")
        print(
            f"{evaluation.judged:,} pairs are judged, {evaluation.positives:,} of them positive; "
            f"{evaluation.retrieved:,} of the judged are retrieved"
        )
    if log:
        from scoring import stages

        params = {"submission": submission, "judgments": judgments, "k": k, "mode": mode}
        stages.log_files(f"evaluate {member_name(submission)}", "evaluate", params, totals, [])


def fuse(
    submission: Submissions = (),
    out: FileFlag = None,
    weights: Annotated[str | None, arg(metavar="W,W,...|FILE", help_behavior_hint="")] = None,
    k_constant: Annotated[float | None, arg(metavar="K", help_behavior_hint="")] = None,
    top: int = K,
    format: FormatFlag = None,
    log: bool = False,
    split: Split = "test",
    judgments: FileFlag = None,
    workers: ByWorkers = HERE,
    runs: ByRuns = Runs(),
) -> None:
    """Fuse ranked lists: a segment earns weight / (k + rank) from each submission that lists it.

    Memory does not grow with the number of classes. Equal scores order by ascending segment id.

    Args:
        submission: Kaggle CSVs, Parquet files, coded folders or TREC runs, one a member.
        out: What to write: .csv, .csv.gz (Kaggle), .parquet (long form), or a name without suffix (coded folder).
        weights: Numbers in the order of the submissions, such as 0.2,0.5,0.3, or a weights.json, whose members go by
            the files' names. Default: equal.
        k_constant: The k of the formula. Default: that of weights.json, else 5.058430980648939.
        top: How many segments of each class to keep.
        format: `trec` for TREC runs; other formats are known by their suffix.
        log: Log it as a run, too, with what was written.
        split: With --experiment: the split whose members are fused, by the line-up's newest weights.
        judgments: With --experiment: judgments to measure the ensemble on.
    """
    if not submission:
        from scoring import stages

        experiment, lineup, members = runs.of(split)
        judged = None if judgments is None else read_judgments(judgments, format)
        stages.fuse_members(experiment, lineup, split, members, judged, force=runs.force)
        return
    _at_least_one("top", top)
    target = _target(out)
    sources = open_submissions(submission, format)
    shares, k = _weights(weights, list(sources))
    k = k if k_constant is None else k_constant
    _warn_of_missing_classes(sources)
    segments = None if target.suffix else union_of_segments([source.segments for source in sources.values()])
    if workers.elsewhere:
        blocks = fuse_in_blocks(submission, format, shares, k, top, workers)
    else:
        blocks = fuse_blocks(sources, shares, k, top)
    blocks = _shown(blocks, sources.values(), "fuse")
    write_blocks(blocks, segments, target)
    if log:
        from scoring import stages

        params = {"members": ", ".join(sources), "weights": shares or "equal", "k": k, "top": top}
        stages.log_files(f"fuse {member_name(target)}", "fuse", params, {}, [target])


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
    runs: ByRuns = Runs(),
) -> None:
    """Search the weights and k that fuse submissions to the highest MAP, and say how far to trust them.

    Bayesian optimisation with Ax, warm-started with equal weights and powers of each member's own MAP. The result is
    never worse than equal weights or the best member on these judgments; a search that was stopped goes on where it
    was when it is typed again. Whether that holds on others is what the
    cross-validated MAP says (weights fitted on half of the videos, scored on the other half).

    Args:
        submission: Kaggle CSVs, Parquet files, coded folders or TREC runs, one a member.
        judgments: CSV or Parquet with class_id, segment_id, relevance, or TREC qrels.
        out: The weights.json to write; the trials are written beside it (weights.trials.parquet).
        trials: Weight vectors that the search tries.
        seed: The same seed repeats the search.
        polish: Evaluations of a coordinate ascent from the best trial.
        shrink: Draw the found weights toward equal ones: 0 not at all, 1 all the way.
        k: Length at which lists are cut (K of MAP@K).
        mode: What a class with positives that all members lack counts: 0 (strict) or nothing (google).
        format: `trec` for TREC runs and qrels; other formats are known by their suffix.
        json: Print one JSON object.
        log: Log the search as a run, too.
    """
    from scoring import reports

    judged = read_judgments(judgments, format)
    if not submission:
        from scoring import stages

        experiment, lineup, members = runs.of("holdout")
        chosen = stages.optimize_members(experiment, lineup, members, judged, trials, seed, polish, force=runs.force)
        if out:
            read_weights(chosen.artifact("weights.json")).write(out)
        return
    _at_least_one("k", k)
    target = _target(out)
    sources = open_submissions(submission, format)
    _warn_of_missing_classes(sources)
    unfinished = target.with_suffix(".trials.jsonl")
    found = reports.search_and_validate(sources, judged, trials, seed, polish, k, mode, shrink, unfinished)
    found.weights.write(target)
    found.search.trials.write_parquet(target.with_suffix(".trials.parquet"))
    print(json_format.dumps(found.summary()) if json else found.text())
    if log:
        from scoring import stages

        params = {"judgments": judgments, "trials": trials, "seed": seed, "polish": polish, "k_at": k, "mode": mode}
        stages.log_search(f"optimize {member_name(target)}", params, found.search, found.weights)


def merge(
    submission: Submissions = (),
    out: FileFlag = None,
    by: By = "rank",
    split: Split = "holdout",
    runs: ByRuns = Runs(),
) -> None:
    """Merge the shifts of a member: by files into one, or of each member of a line-up by its runs.

    Args:
        submission: One submission (predictions) a shift.
        out: What to write: .csv, .csv.gz (Kaggle), .parquet (long form), or a name without suffix (coded folder).
        by: Fusion of ranks with equal weights and k 2.72384689385059, or the mean of scores (coded predictions only).
        split: With --experiment: the split whose predictions are merged.
    """
    if not submission:
        from scoring import stages

        experiment, lineup, members = runs.of(split)
        stages.merge_members(experiment, lineup, split, members, by, force=runs.force)
        return
    target = _target(out)
    sources = list(open_submissions(submission).values())
    segments = None if target.suffix else union_of_segments([source.segments for source in sources])
    write_blocks(_shown(merge_blocks(sources, by), sources, "merge"), segments, target)


def check(
    submission: Annotated[Positional[Path], arg(metavar="SUBMISSION", help_behavior_hint="")],
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
        print(f"{submission} has {len(found.faults)} faults" if found.faults else f"{submission} is complete")
    if found.faults:
        sys.exit(1)


def published(evaluations: Annotated[Positional[Path], arg(metavar="EVALUATIONS", help_behavior_hint="")]) -> None:
    """Log the original's published weight search as a reference run, to see beside one's own.

    Args:
        evaluations: CSV with evaluation, map, seconds, w0 (k + 1) and the weights w1, w2, ...
    """
    from scoring import stages
    from scoring.published import read_published

    trials = read_published(evaluations)
    run = stages.log_published(evaluations, trials)
    best = trials.sort("map", descending=True, maintain_order=True).row(0, named=True)
    print(
        f"best {best['map']:.5f} at evaluation {best['trial'] + 1} of {trials.height}, "
        f"{trials['seconds'].median():.0f} s an evaluation; run {run.run_id} of the experiment {run.experiment}"
    )


def _weights(given: str | None, members: Sequence[str]) -> tuple[dict[str, float] | None, float]:
    """The weights of `--weights` by member, and their k."""
    if given is None:
        return None, MEMBER_K
    if given.endswith(".json") or Path(given).is_file():
        weights = read_weights(Path(given))
        return weights.weights, weights.k
    try:
        numbers = [float(number) for number in given.split(",")]
    except ValueError as error:
        raise ValueError(f"--weights {given} is neither numbers with commas between nor a .json file") from error
    if len(numbers) != len(members):
        raise ValueError(f"--weights has {len(numbers)} numbers for {len(members)} submissions; give one for each")
    return dict(zip(members, numbers, strict=True)), MEMBER_K


def _warn_of_missing_classes(sources: Mapping[str, RankedLists]) -> None:
    every = set().union(*(source.classes for source in sources.values()))
    for name, source in sources.items():
        if missing := len(every.difference(source.classes)):
            logger.warning("%s lacks %d classes that others have; it has no vote there", name, missing)


def _target(out: Path | None) -> Path:
    if out is None:
        raise ValueError("say where to write with --out FILE")
    return out


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"--{name} is {value}; it must be at least 1")


def _shown(blocks: Iterator[T], sources: Iterable[RankedLists], text: str) -> Iterator[T]:
    """The blocks, with a progress bar where somebody is looking."""
    if not sys.stderr.isatty():
        return blocks
    from rich.console import Console
    from rich.progress import track

    total = sum(1 for _ in class_blocks(sources))
    return iter(track(blocks, text, total, console=Console(stderr=True), transient=True))


COMMANDS = {
    "evaluate": evaluate,
    "fuse": fuse,
    "optimize": optimize,
    "merge": merge,
    "check": check,
    "published": published,
}

if __name__ == "__main__":
    main(COMMANDS, "python -m scoring", "Score, fuse and weigh ranked lists: anybody's, in plain files.")
