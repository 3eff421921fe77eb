"""Search weights and measure the result."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from scoring.fusion.fusion import MEMBER_K, fuse_blocks
from scoring.lists.ranked import K, Part, RankedLists, Submission
from scoring.measures.average_precision import Mode, ranks_of_blocks
from scoring.measures.bootstrap import Draws
from scoring.weights.cross_validation import cross_validated_map, leave_one_out, shrink
from scoring.weights.objective import Objective
from scoring.weights.report import SHRINKAGES, Report
from scoring.weights.search import search
from scoring.weights.trial_log import TrialLog
from scoring.weights.trials import Search, Trial, best_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """A search, what it searched on, and what came of it; `per_class` is the ensemble's AP of each class.

    `kept` are the trials on disk: whoever has written what was found calls `kept.done()`.
    """

    search: Search
    objective: Objective
    report: Report
    per_class: pl.DataFrame
    kept: TrialLog


def check_shrinkage(amount: float) -> None:
    if amount not in SHRINKAGES:
        raise ValueError(
            f"--shrink is {amount}; choose 0 (weights as found), 0.5 or 1 (equal weights), which are cross-validated"
        )


def search_and_measure(
    sources: Mapping[str, RankedLists],
    judgments: pl.DataFrame,
    unfinished: Path,
    trials: int = 60,
    seed: int = 0,
    polish: int = 0,
    shrinkage: float = 0.0,
    cut: int = K,
    mode: Mode = "strict",
    report: Callable[[Trial], None] = lambda trial: None,
) -> Outcome:
    """Search, draw the weights toward equal ones by `shrinkage`, and measure them; with a progress bar on a terminal.

    The file `unfinished` keeps the trials of a search that is stopped, which the next one goes on with.
    """
    from rich.console import Console
    from rich.progress import Progress

    check_shrinkage(shrinkage)
    objective = Objective.of(sources, judgments, cut, mode)
    kept = TrialLog(unfinished, objective, seed)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("optimize", total=trials + polish + len(sources))

        def keep(trial: Trial) -> None:
            bar.advance(task, trial.evaluations)
            kept(trial)
            report(trial)

        found = search(objective, trials, seed, polish, keep, kept.known)
    if shrinkage:
        drawn, k = shrink(found.weights, shrinkage), MEMBER_K if shrinkage == 1 else found.k
        found = replace(found, weights=drawn, k=k, map=objective.map(drawn, k))
    fused = fuse_blocks(sources, found.weights, found.k, cut)
    measured, per_class = measure(objective, sources, judgments, fused, found.weights, found.k, shrinkage, seed)
    if abs(measured.map - found.map) > 1e-12:
        log.warning("the search saw a MAP of %.6f, the full lists have %.6f", found.map, measured.map)
    return Outcome(found, objective, measured, per_class, kept)


def measure(
    objective: Objective,
    sources: Mapping[str, RankedLists],
    judgments: pl.DataFrame,
    fused: Iterable[Part | Submission],
    weights: Mapping[str, float],
    k: float,
    shrinkage: float = 0.0,
    seed: int = 0,
) -> tuple[Report, pl.DataFrame]:
    """What weights are worth, from the blocks of the lists that they fuse; and the AP of each class."""
    draws = Draws(judgments)
    ensemble = draws.measure(*ranks_of_blocks(fused, judgments, objective.cut), objective.mode)
    equal_blocks = fuse_blocks(sources, None, MEMBER_K, objective.cut)
    equal = draws.measure(*ranks_of_blocks(equal_blocks, judgments, objective.cut), objective.mode)
    alone = {
        member: draws.measure(*_ranks_of(objective, number), objective.mode)
        for number, member in enumerate(objective.members)
        if objective.mode == "strict" or objective.has[number].any()
    }
    members = {member: alone[member].map if member in alone else 0.0 for member in objective.members}
    try:
        validated = cross_validated_map(objective, seed=seed)
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
        unit=draws.unit,
        shrink=shrinkage,
        seed=seed,
        k_at=objective.cut,
        mode=objective.mode,
    )
    return report, ensemble.evaluation.per_class


def _ranks_of(objective: Objective, number: int) -> tuple[pl.DataFrame, pl.Series]:
    """The judged pairs that a member lists within the cut, with their ranks, and the classes with positives it has."""
    ranks = objective.pairs.with_columns(rank=pl.Series(objective.ranks[number]))
    classes = objective.pairs["class_id"].unique().sort()
    return ranks.filter(pl.col("rank") <= objective.cut), classes.filter(pl.Series(objective.has[number]))
