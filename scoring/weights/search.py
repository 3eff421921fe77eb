"""The search for the weights of an ensemble's members and for k: Bayesian optimisation with Ax, then a polish.

Weights are positive numbers, which the objective divides by their sum: with a simplex constraint Ax is slow and stops
improving. They and k are searched on a logarithmic scale, near the best of the warm starts. The result is the best
trial observed, not a model's prediction.
"""

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import polars as pl

from scoring.fusion.fusion import MEMBER_K, shares_of
from scoring.weights.climb import K_RANGE, coordinate_ascent, evolve
from scoring.weights.objective import Objective
from scoring.weights.settings import DEFAULTS, SearchSettings
from scoring.weights.smooth import smooth_weights
from scoring.weights.trials import Search, Trial, best_trial, score_trial, weights_of_one

NEAR = 1.4  # proposals are within this factor of the best warm start: further away, they are worse than it
LEAST = 0.01  # a member with less weight than this share of the largest is not searched
DRAWN = 8  # proposals before the first of a model
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
    """Trials that Ax proposes near the best of the warm starts, given all trials there, the `known` of its own too.

    The first DRAWN are a Sobol sequence; a model of MAP proposes the others. It is fitted from scratch for every
    proposal, so a proposal depends only on the trials, not on earlier fits: a resumed search proposes what it would
    have proposed without the interruption. MAP has no noise, so its standard error is 0.
    """
    with _quiet():
        from ax.adapter.registry import Generators
        from ax.api.client import Client
        from ax.api.configs import RangeParameterConfig
        from ax.generation_strategy.generation_node import GenerationNode
        from ax.generation_strategy.generation_strategy import GenerationStrategy
        from ax.generation_strategy.generator_spec import GeneratorSpec
        from ax.utils.common.logger import set_ax_logger_levels
        from botorch.acquisition.analytic import LogExpectedImprovement
        from threadpoolctl import threadpool_limits

        set_ax_logger_levels(logging.ERROR)
    region = Region.around(best_trial(warm))
    client = Client(random_seed=seed)
    client.configure_experiment(
        name="weights",
        parameters=[
            RangeParameterConfig(name=name, parameter_type="float", bounds=bounds, scaling="log")
            for name, bounds in region.bounds.items()
        ],
    )
    client.configure_optimization(objective="map")
    before = [trial for trial in known if trial.source == "ax"][:trials]
    for trial in [*warm, *before]:
        if parameters := region.parameters(trial):
            client.complete_trial(client.attach_trial(parameters), {"map": (trial.map, 0.0)})
    yield from before
    modelled = GeneratorSpec(
        generator_enum=Generators.BOTORCH_MODULAR,
        generator_kwargs={"botorch_acqf_class": LogExpectedImprovement},
        generator_gen_kwargs={
            "model_gen_options": {
                "optimizer_kwargs": {"num_restarts": 2, "raw_samples": 64, "options": {"maxiter": 25}}
            }
        },
    )
    for number in range(len(before), trials):
        began = time.perf_counter()
        drawn = GeneratorSpec(generator_enum=Generators.SOBOL, generator_kwargs={"seed": seed, "init_position": number})
        node = GenerationNode(name="proposal", generator_specs=[drawn if number < DRAWN else modelled])
        with _quiet(), threadpool_limits(1):  # the number of threads changes the order of additions and the proposal
            client.set_generation_strategy(GenerationStrategy(name="proposals", nodes=[node]))
            ((index, parameters),) = client.get_next_trials(max_trials=1).items()
        trial = score_trial(objective, "ax", *region.weights_and_k(parameters))
        client.complete_trial(index, {"map": (trial.map, 0.0)})
        yield replace(trial, seconds=time.perf_counter() - began)


@dataclass(frozen=True)
class Region:
    """The weights and k that are at most a factor of NEAR from those of a trial, `center`, as parameters for Ax.

    Ax restricts the names of parameters, and a member's name may be any text: `names` maps parameters to members. A
    member that has next to no weight in `center` has no parameter and keeps that weight.
    """

    center: Trial
    names: Mapping[str, str]

    @classmethod
    def around(cls, center: Trial) -> "Region":
        least = LEAST * max(center.weights.values())
        free = [member for member, weight in center.weights.items() if weight > least]
        return cls(center, {f"w{number}": member for number, member in enumerate(free)})

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        weights = {name: self.center.weights[member] for name, member in self.names.items()}
        ranges = {name: (weight / NEAR, weight * NEAR) for name, weight in weights.items()}
        return {**ranges, "k": (max(self.center.k / NEAR, K_RANGE[0]), min(self.center.k * NEAR, K_RANGE[1]))}

    def parameters(self, trial: Trial) -> dict[str, float] | None:
        """The parameters of a trial; None if it is outside the region."""
        values = {name: trial.weights[member] for name, member in self.names.items()} | {"k": trial.k}
        held = self.center.weights.keys() - self.names.values()
        is_inside = all(low <= values[name] <= high for name, (low, high) in self.bounds.items())
        return values if is_inside and all(trial.weights[m] == self.center.weights[m] for m in held) else None

    def weights_and_k(self, parameters: Mapping[str, Any]) -> tuple[dict[str, float], float]:
        inside = {name: float(np.clip(parameters[name], *bounds)) for name, bounds in self.bounds.items()}
        k = inside.pop("k")
        return {**self.center.weights, **{self.names[name]: weight for name, weight in inside.items()}}, k


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
