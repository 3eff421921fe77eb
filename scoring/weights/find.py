"""Search weights and measure the result."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from scoring.fusion.fusion import MEMBER_K
from scoring.fusion.workers import HERE, fuse_in_blocks
from scoring.lists.ranked import K, Part, RankedLists, Submission
from scoring.measures.average_precision import Mode, ranks_of_blocks
from scoring.measures.bootstrap import Bootstrap, Resampled
from scoring.weights.cross_validation import cross_validated_map, given_on_halves, leave_one_out, shrink
from scoring.weights.objective import Objective
from scoring.weights.report import Report
from scoring.weights.search import search
from scoring.weights.settings import SearchSettings
from scoring.weights.trial_log import TrialLog
from scoring.weights.trials import Search, Trial, best_of
from terminal.progress import Progress
from videos.judgments import Judgments

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """A search, its objective, the report on its weights, the ensemble's AP per class, and its ranks of judged pairs
    (as `ranks_of_blocks` returns them)."""

    search: Search
    objective: Objective
    report: Report
    per_class: pl.DataFrame
    ranks: pl.DataFrame


@contextmanager
def search_and_measure(
    sources: Mapping[str, RankedLists],
    judgments: Judgments,
    settings: SearchSettings,
    *,
    unfinished: Path,
    cutoff: int = K,
    mode: Mode = "strict",
    report: Callable[[Trial], None] = lambda trial: None,
) -> Iterator[Outcome]:
    """Search, shrink the weights as `settings` say, and measure them; with a progress bar on a terminal.

    An interrupted search resumes from the trials in the file `unfinished`. It is removed when the block ends without an
    error, so the block must store the outcome. `report` is called with each trial.
    """
    objective = Objective.of(sources, judgments, cutoff=cutoff, mode=mode)
    total = settings.trials + settings.polish + len(sources)
    with TrialLog(unfinished, objective, settings.seed) as trials:
        with Progress("optimize", total) as bar:

            def store(trial: Trial) -> None:
                bar.advance(trial.evaluations)
                trials(trial)
                report(trial)

            best = search(objective, settings, report=store, known=trials.known)
        if settings.shrink:
            shrunk, k = shrink(best.weights, settings.shrink), MEMBER_K if settings.shrink == 1 else best.k
            best = replace(best, weights=shrunk, k=k, map=objective.map(shrunk, k))
        fused = fuse_in_blocks(sources, weights=best.weights, k=best.k, cutoff=cutoff, workers=HERE)
        measured, per_class, ranks = measure(
            objective, sources, judgments, fused, weights=best.weights, k=best.k, searched=settings
        )
        if abs(measured.map - best.map) > 1e-12:
            log.warning("the search saw a MAP of %.6f, the full lists have %.6f", best.map, measured.map)
        yield Outcome(best, objective, measured, per_class, ranks)
        trials.done()


def measure(
    objective: Objective,
    sources: Mapping[str, RankedLists],
    judgments: Judgments,
    fused: Iterable[Part | Submission],
    *,
    weights: Mapping[str, float],
    k: float,
    searched: SearchSettings | None,
) -> tuple[Report, pl.DataFrame, pl.DataFrame]:
    """The report on weights, the ensemble's AP per class, and its ranks of the judged pairs (`ranks_of_blocks`).

    Args:
        objective: The judged pairs of `sources`.
        sources: The members' lists.
        judgments: The judgments to measure on.
        fused: The lists fused with these weights, in blocks of classes.
        weights: Shares of the members.
        k: The constant of the fusion.
        searched: The settings of the search that chose the weights on these judgments; None for given weights, which
            are cross-validated as they are.
    """
    bootstrap = Bootstrap(judgments)

    def resampled(blocks: Iterable[Part | Submission]) -> tuple[Resampled, pl.DataFrame]:
        ranks, present = ranks_of_blocks(blocks, judgments, objective.cutoff)
        return bootstrap.measure(ranks, present, objective.mode), ranks

    ensemble, ranks = resampled(fused)
    equal, _ = resampled(fuse_in_blocks(sources, weights=None, k=MEMBER_K, cutoff=objective.cutoff, workers=HERE))
    alone = {
        member: bootstrap.measure(*_ranks_of(objective, number), objective.mode)
        for number, member in enumerate(objective.members)
        if objective.mode == "strict" or objective.has[number].any()
    }
    members = {member: alone[member].map if member in alone else 0.0 for member in objective.members}
    try:
        if searched is None:
            validated = given_on_halves(objective, weights, k)
        else:
            validated = cross_validated_map(objective, seed=searched.seed)
    except ValueError as error:
        log.warning("the cross-validated MAP is left out: %s", error)
        validated = None
    report = Report(
        map=ensemble.map,
        interval=ensemble.interval,
        k=k,
        weights=dict(weights),
        members=members,
        intervals={member: measured.interval for member, measured in alone.items()},
        equal_weights=equal.map,
        equal_weights_interval=equal.interval,
        cross_validated=validated,
        better_than_best_member=ensemble.over(alone[best_of({member: members[member] for member in alone})]),
        leave_one_out=leave_one_out(objective, weights, k),
        unit=judgments.unit,
        units=judgments.unit_count,
        shrink=searched.shrink if searched else 0.0,
        seed=searched.seed if searched else 0,
        cutoff=objective.cutoff,
        mode=objective.mode,
        given=searched is None,
    )
    return report, ensemble.evaluation.per_class, ranks


def _ranks_of(objective: Objective, number: int) -> tuple[pl.DataFrame, pl.Series]:
    """`ranks_of_blocks` of one member, for the classes with positives."""
    ranks = objective.pairs.with_columns(rank=pl.Series(objective.ranks[number]))
    ranks = ranks.filter(pl.col("rank") <= objective.cutoff).sort("class_id", "rank")
    return ranks, objective.pairs["class_id"].unique().sort().filter(pl.Series(objective.has[number]))
