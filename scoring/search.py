"""The search for the weights of an ensemble's members and for k: Bayesian optimisation with Ax, then a polish.

Weights are plain numbers in [0, 1], made shares by the objective: a simplex constraint makes Ax slow and stuck. k is
searched on a logarithmic scale. What counts is the best trial observed, never what a model predicts.
"""

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import numpy as np
import polars as pl

from scoring.average_precision import Mode
from scoring.fusion import MEMBER_K, shares_of
from scoring.objective import Objective
from scoring.ranked import K, RankedLists
from scoring.smooth import smooth_weights

K_RANGE = (0.1, 1000.0)
POWERS = (1, 2, 4)  # warm starts: each member's own MAP to these powers
SMOOTH = (MEMBER_K, 60.0, K_RANGE[1])  # warm starts: the best weights of a smoothed MAP at these k
FACTORS = (4.0, 2.0, 1.4, 1.15, 1.05, 1.02)  # the steps of a climb, coarse to fine

GENERATION = 32  # weight vectors of CMA-ES at a time

Source = Literal["member", "warm", "ax", "climb"]


@dataclass(frozen=True)
class Trial:
    """One proposal and its MAP: a member on its own, a warm start, a proposal of Ax, or a step of the polish (where it
    may be the best of several `evaluations`). Weights that are all 0 mean equal ones."""

    source: Source
    weights: dict[str, float]
    k: float
    map: float
    seconds: float
    evaluations: int = 1


@dataclass(frozen=True)
class Search:
    """What a search found: the best of its trials, as shares of all members, and what it must be compared with.

    `trials` has a row for each trial in order: trial i32, source, `weight/<member>` (share), k, map, best (best so
    far), seconds (to propose and to score it). `members` is each member's own MAP.
    """

    weights: dict[str, float]
    k: float
    map: float
    equal_weights: float
    members: dict[str, float]
    trials: pl.DataFrame

    @property
    def best_member(self) -> str:
        """The member of the highest MAP."""
        return best_of(self.members)


def best_of(members: Mapping[str, float]) -> str:
    """The member of the highest MAP (the first by name of equal ones)."""
    return max(sorted(members), key=lambda member: members[member])


def optimize(
    submissions: Mapping[str, RankedLists],
    judgments: pl.DataFrame,
    trials: int = 60,
    seed: int = 0,
    polish: int = 0,
    cut: int = K,
    mode: Mode = "strict",
    report: Callable[[Trial], None] = lambda trial: None,
) -> Search:
    """Search weights and k for the highest MAP@`cut` on `judgments`; see `search`."""
    return search(Objective.of(submissions, judgments, cut, mode), trials, seed, polish, report)


def search(
    objective: Objective,
    trials: int = 60,
    seed: int = 0,
    polish: int = 0,
    report: Callable[[Trial], None] = lambda trial: None,
    known: Sequence[Trial] = (),
) -> Search:
    """Search weights and k; the result is never worse than equal weights or the best member on these judgments.

    Args:
        trials: Proposals scored, warm starts (equal weights, powers of each member's own MAP, the best of a smoothed
            MAP) included; the members on their own come on top.
        seed: The same seed on the same objective repeats the search.
        polish: Evaluations on top, from the best trial: a climb until it settles, then CMA-ES; 0 for none.
        report: Called with each trial as it is known.
        known: Trials of the same search that was stopped; those of Ax are not proposed again, and what follows them is
            what would have followed without the stop.
    """
    if trials < 1:
        raise ValueError(f"{trials} trials find nothing; allow at least 1")
    if polish < 0:
        raise ValueError(f"--polish is {polish}; it is a number of evaluations, 0 for none")
    if not objective.has.any():
        raise ValueError("the members have none of the classes with positives; check that all are of the same data")
    done: list[Trial] = []

    def keep(trial: Trial) -> Trial:
        done.append(trial)
        report(trial)
        return trial

    singles = {member: keep(_alone(objective, member)).map for member in objective.members}
    starts = islice(_starts(objective, singles), trials)
    equal, *_ = warm = [keep(_score(objective, "warm", weights, k)) for weights, k in starts]
    if len(objective.members) > 1 and trials > len(warm):
        for trial in _bayesian(objective, warm, trials - len(warm), seed, known):
            keep(trial)
    for step in (climb, evolve) if len(objective.members) > 1 else ():
        left = polish - sum(trial.evaluations for trial in done if trial.source == "climb")
        for trial in step(objective, _best(done), left, seed):
            keep(trial)
    found = _best(done)
    shares = shares_of(found.weights, objective.members)
    return Search(
        weights={member: shares.get(member, 0.0) for member in objective.members},
        k=found.k,
        map=found.map,
        equal_weights=equal.map,
        members=singles,
        trials=_table(done, objective.members),
    )


def map_of(objective: Objective, weights: Mapping[str, float] | None, k: float) -> float:
    """MAP of a proposal; 0 where no member that votes has a class to count, as it may be in the mode `google`."""
    voting = [weights is None or weights[member] > 0 for member in objective.members]
    lacking = objective.mode == "google" and not objective.has[voting].any()
    return 0.0 if lacking else objective.map(weights, k)


def _starts(objective: Objective, singles: Mapping[str, float]) -> Iterator[tuple[dict[str, float], float]]:
    """Weights and k to begin with: equal weights, powers of each member's own MAP, the best of a smoothed MAP."""
    yield dict.fromkeys(singles, 1.0), MEMBER_K
    if best := max(singles.values()):
        for power in POWERS:
            yield {member: (score / best) ** power for member, score in singles.items()}, MEMBER_K
    if len(singles) > 1:
        for k in SMOOTH:
            weights = smooth_weights(objective.ranks, objective.rows, objective.positive, k)
            yield dict(zip(objective.members, weights.tolist(), strict=True)), k


def climb(objective: Objective, start: Trial, evaluations: int, seed: int = 0) -> Iterator[Trial]:
    """Coordinate ascent from a trial: each weight, and k, is tried larger and smaller (a weight also 0), and what is
    better is kept; from coarse steps to fine ones, which begin again while they help. Yields every trial."""
    rng = np.random.default_rng(seed)
    best, left = start, evaluations
    while left > 0:
        before = best.map
        for factor in FACTORS:
            for name in rng.permutation([*objective.members, ""]):
                for weights, k in _steps(best, str(name), factor):
                    if left <= 0:
                        return
                    trial, left = _score(objective, "climb", weights, k), left - 1
                    yield trial
                    best = trial if trial.map > best.map else best
        if best.map == before:
            return


def evolve(objective: Objective, start: Trial, evaluations: int, seed: int = 0) -> Iterator[Trial]:
    """CMA-ES from a trial; restarts whenever it has settled, now from the best so far, now from a random place.

    Yields the best trial of each generation.
    """
    import cma

    rng = np.random.default_rng(seed)
    best, left = start, evaluations
    while left >= GENERATION:
        from_best = left == evaluations or (best.map > start.map and rng.random() < 0.5)
        weights = np.array([best.weights[member] for member in objective.members])
        if not from_best:
            weights = rng.random(len(objective.members))
        origin = [*(weights / weights.max()), np.log(best.k)]
        settings = {"popsize": GENERATION, "seed": int(rng.integers(1, 2**31)), "verbose": -9, "maxfevals": left}
        strategy = cma.CMAEvolutionStrategy(origin, 0.1 if from_best else 0.3, settings)
        while left >= GENERATION and not strategy.stop():
            began = time.perf_counter()
            asked = strategy.ask()
            points = np.array(asked)
            vectors, ks = np.abs(points[:, :-1]), np.clip(np.exp(points[:, -1]), *K_RANGE)
            maps = objective.maps(vectors, ks)
            strategy.tell(asked, (-maps).tolist())
            left -= GENERATION
            top = int(maps.argmax())
            weights = dict(zip(objective.members, vectors[top].tolist(), strict=True))
            seconds = time.perf_counter() - began
            trial = Trial("climb", weights, float(ks[top]), float(maps[top]), seconds, GENERATION)
            yield trial
            best = trial if trial.map > best.map else best


def limit(objective: Objective, start: Trial, evaluations: int = 20_000, seed: int = 0) -> Trial:
    """About the best there is to find on these judgments, by CMA-ES: what a search is measured against."""
    return _best([start, *evolve(objective, start, evaluations, seed)])


def _steps(trial: Trial, name: str, factor: float) -> Iterator[tuple[dict[str, float], float]]:
    """The neighbours of a trial in one member's weight, or in k where the name is empty."""
    if not name:
        yield from ((trial.weights, float(np.clip(k, *K_RANGE))) for k in (trial.k * factor, trial.k / factor))
        return
    weight, mean = trial.weights[name], sum(trial.weights.values()) / len(trial.weights)
    values = (weight * factor, weight / factor, 0.0) if weight else (mean * (factor - 1),)
    for value in values:
        weights = {**trial.weights, name: value}
        if any(weights.values()):
            yield weights, trial.k


def _bayesian(
    objective: Objective, warm: list[Trial], trials: int, seed: int, known: Sequence[Trial]
) -> Iterator[Trial]:
    """Trials that Ax proposes, after it has been told the warm starts and its own trials of before.

    Every proposal comes from a model that is fitted anew, so that it depends on the trials alone and not on the fits
    before it: a search that was stopped goes on as if it had not been. The warm starts are enough to begin with, and
    MAP has no noise, so that its standard error is 0.
    """
    with _quiet():
        from ax.api.client import Client
        from ax.api.configs import RangeParameterConfig
        from ax.utils.common.logger import set_ax_logger_levels
        from threadpoolctl import threadpool_limits

        set_ax_logger_levels(logging.ERROR)
    # A member's name may be anything; a parameter's may not.
    names = {f"w{number}": member for number, member in enumerate(objective.members)}
    client = Client(random_seed=seed)
    client.configure_experiment(
        name="weights",
        parameters=[
            *(RangeParameterConfig(name=name, parameter_type="float", bounds=(0.0, 1.0)) for name in names),
            RangeParameterConfig(name="k", parameter_type="float", bounds=K_RANGE, scaling="log"),
        ],
    )
    client.configure_optimization(objective="map")
    before = [trial for trial in known if trial.source == "ax"][:trials]
    for trial in [*warm, *before]:
        parameters = {name: trial.weights[member] for name, member in names.items()} | {"k": trial.k}
        client.complete_trial(client.attach_trial(parameters), {"map": (trial.map, 0.0)})
    yield from before
    for _ in range(trials - len(before)):
        began = time.perf_counter()
        with _quiet(), threadpool_limits(1):  # two threads add in another order than one, and so propose otherwise
            client.configure_generation_strategy(method="fast", initialization_budget=0)
            ((index, parameters),) = client.get_next_trials(max_trials=1).items()
        weights = {member: float(parameters[name]) for name, member in names.items()}
        trial = _score(objective, "ax", weights, float(parameters["k"]))
        client.complete_trial(index, {"map": (trial.map, 0.0)})
        yield replace(trial, seconds=time.perf_counter() - began)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what Ax and its libraries say about themselves: a line on import, warnings of things to come."""
    disabled = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _alone(objective: Objective, member: str) -> Trial:
    weights = {name: float(name == member) for name in objective.members}
    return _score(objective, "member", weights, MEMBER_K)


def _score(objective: Objective, source: Source, weights: dict[str, float], k: float) -> Trial:
    began = time.perf_counter()
    value = map_of(objective, weights if any(weights.values()) else None, k)
    return Trial(source, weights, k, value, time.perf_counter() - began)


def _best(trials: list[Trial]) -> Trial:
    """The best trial; of equal ones the first that is a fusion. Weights that are all 0 are equal ones."""
    best = max(trials, key=lambda trial: (trial.map, trial.source != "member"))
    return best if any(best.weights.values()) else replace(best, weights=dict.fromkeys(best.weights, 1.0))


def _table(trials: list[Trial], members: tuple[str, ...]) -> pl.DataFrame:
    shares = [shares_of(trial.weights if any(trial.weights.values()) else None, members) for trial in trials]
    return pl.DataFrame(
        {
            "trial": pl.int_range(len(trials), dtype=pl.Int32, eager=True),
            "source": [trial.source for trial in trials],
            **{f"weight/{member}": [of.get(member, 0.0) for of in shares] for member in members},
            "k": [trial.k for trial in trials],
            "map": [trial.map for trial in trials],
            "best": np.maximum.accumulate([trial.map for trial in trials]),
            "seconds": [trial.seconds for trial in trials],
        }
    )
