"""The search for the weights of an ensemble's members and for k: Bayesian optimisation with Ax, then a polish.

Weights are numbers in [0, 1], which the objective divides by their sum: with a simplex constraint Ax is slow and stops
improving. k is searched on a logarithmic scale. The result is the best trial observed, not a model's prediction.
"""

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice

import numpy as np
import polars as pl

from scoring.fusion.fusion import MEMBER_K, shares_of
from scoring.weights.climb import K_RANGE, coordinate_ascent, evolve
from scoring.weights.objective import Objective
from scoring.weights.settings import DEFAULTS, SearchSettings
from scoring.weights.smooth import smooth_weights
from scoring.weights.trials import Search, Trial, best_trial, score_trial, weights_of_one

POWERS = (1, 2, 4)  # warm starts: each member's own MAP to these powers
SMOOTH = (MEMBER_K, 60.0, K_RANGE[1])  # warm starts: the best weights of a smoothed MAP at these k


def search(
    objective: Objective,
    settings: SearchSettings = DEFAULTS,
    *,
    report: Callable[[Trial], None] = lambda trial: None,
    known: Sequence[Trial] = (),
) -> Search:
    """Search weights and k; the result is never worse than equal weights or the best member on these judgments.

    The weights are those of the best trial: `settings.shrink` is not applied here.

    Args:
        objective: MAP as a function of weights and k.
        settings: Warm starts (equal weights, powers of each member's own MAP, the best of a smoothed MAP) count among
            `settings.trials`; a trial of each single member is added.
        report: Called with each trial as soon as it is scored.
        known: Trials of an interrupted run of the same search. Those of Ax are not proposed again; later trials are the
            same as without the interruption.
    """
    if not objective.has.any():
        raise ValueError("the members have none of the classes with positives; check that all are of the same data")
    done: list[Trial] = []

    def add(trial: Trial) -> Trial:
        done.append(trial)
        report(trial)
        return trial

    alone = {member: weights_of_one(member, objective.members) for member in objective.members}
    singles = {member: add(score_trial(objective, "member", alone[member], MEMBER_K)).map for member in alone}
    starts = islice(_starts(objective, singles), settings.trials)
    equal, *_ = warm = [add(score_trial(objective, "warm", weights, k)) for weights, k in starts]
    if len(objective.members) > 1 and settings.trials > len(warm):
        for trial in _bayesian(objective, warm, settings.trials - len(warm), settings.seed, known):
            add(trial)
    for step in (coordinate_ascent, evolve) if len(objective.members) > 1 else ():
        left = settings.polish - sum(trial.evaluations for trial in done if trial.source == "climb")
        for trial in step(objective, best_trial(done), evaluations=left, seed=settings.seed):
            add(trial)
    best = best_trial(done)
    shares = shares_of(best.weights, objective.members)
    return Search(
        weights={member: shares.get(member, 0.0) for member in objective.members},
        k=best.k,
        map=best.map,
        equal_weights=equal.map,
        members=singles,
        trials=_table(done, objective.members),
    )


def _starts(objective: Objective, singles: Mapping[str, float]) -> Iterator[tuple[dict[str, float], float]]:
    """Weights and k of the warm starts: equal weights, powers of each member's own MAP, the best of a smoothed MAP."""
    yield dict.fromkeys(singles, 1.0), MEMBER_K
    if best := max(singles.values()):
        for power in POWERS:
            yield {member: (score / best) ** power for member, score in singles.items()}, MEMBER_K
    if len(singles) > 1:
        for k in SMOOTH:
            weights = smooth_weights(objective.ranks, objective.rows, objective.positive, k)
            yield dict(zip(objective.members, weights.tolist(), strict=True)), k


def _bayesian(
    objective: Objective, warm: list[Trial], trials: int, seed: int, known: Sequence[Trial]
) -> Iterator[Trial]:
    """Trials that Ax proposes, given the warm starts and the `known` trials of its own.

    The model is fitted from scratch for every proposal, so a proposal depends only on the trials, not on earlier fits:
    a resumed search proposes what it would have proposed without the interruption. MAP has no noise, so its standard
    error is 0.
    """
    with _quiet():
        from ax.api.client import Client
        from ax.api.configs import RangeParameterConfig
        from ax.utils.common.logger import set_ax_logger_levels
        from threadpoolctl import threadpool_limits

        set_ax_logger_levels(logging.ERROR)
    # Ax restricts the names of parameters; a member's name may be any text.
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
        with _quiet(), threadpool_limits(1):  # the number of threads changes the order of additions and the proposal
            client.configure_generation_strategy(method="fast", initialization_budget=0)
            ((index, parameters),) = client.get_next_trials(max_trials=1).items()
        weights = {member: float(parameters[name]) for name, member in names.items()}
        trial = score_trial(objective, "ax", weights, float(parameters["k"]))
        client.complete_trial(index, {"map": (trial.map, 0.0)})
        yield replace(trial, seconds=time.perf_counter() - began)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Ax and its libraries, which log on import and warn of deprecations."""
    disabled = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _table(trials: list[Trial], members: tuple[str, ...]) -> pl.DataFrame:
    shares = [shares_of(trial.weights if any(trial.weights.values()) else None, members) for trial in trials]
    return pl.DataFrame(
        {
            "trial": pl.int_range(len(trials), dtype=pl.Int32, eager=True),
            "source": [trial.source for trial in trials],
            **{f"weight/{member}": [share.get(member, 0.0) for share in shares] for member in members},
            "k": [trial.k for trial in trials],
            "map": [trial.map for trial in trials],
            "best": np.maximum.accumulate([trial.map for trial in trials]),
            "seconds": [trial.seconds for trial in trials],
        }
    )
