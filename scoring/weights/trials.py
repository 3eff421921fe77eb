"""Trials (weight vectors with their MAP), and the result of a search."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from scoring.weights.objective import Objective

TrialSource = Literal["member", "warm", "ax", "climb"]


@dataclass(frozen=True)
class Trial:
    """Weights and k with their MAP: of a single member, a warm start, a proposal of Ax, or a step of the polish (which
    may be the best of several `evaluations`). Weights that are all 0 mean equal ones."""

    source: TrialSource
    weights: dict[str, float]
    k: float
    map: float
    seconds: float
    evaluations: int = 1


@dataclass(frozen=True)
class Search:
    """The result of a search: the best of its trials, as shares of all members, and its baselines.

    `trials` has one row per trial, in order: trial i32, source, `weight/<member>` (share), k, map, best (highest map so
    far), seconds (to propose and score it). `members` has each member's own MAP.
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
    """The member of the highest MAP; of equal ones the first by name."""
    return max(sorted(members), key=lambda member: members[member])


def weights_of_one(member: str, members: Iterable[str]) -> dict[str, float]:
    """Weight 1 for one member, 0 for the others."""
    return {name: float(name == member) for name in members}


def map_of(objective: Objective, weights: Mapping[str, float] | None, k: float) -> float:
    """MAP of a proposal; 0 in the mode `google` if no member of positive weight has a class with positives."""
    voting = [weights is None or weights[member] > 0 for member in objective.members]
    lacking = objective.mode == "google" and not objective.has[voting].any()
    return 0.0 if lacking else objective.map(weights, k)


def score_trial(objective: Objective, source: TrialSource, weights: dict[str, float], k: float) -> Trial:
    """Score a proposal and time it."""
    began = time.perf_counter()
    value = map_of(objective, weights if any(weights.values()) else None, k)
    return Trial(source, weights, k, value, time.perf_counter() - began)


def best_trial(trials: list[Trial]) -> Trial:
    """The trial of the highest MAP; of equal ones the first fusion. Weights that are all 0 become equal ones."""
    best = max(trials, key=lambda trial: (trial.map, trial.source != "member"))
    return best if any(best.weights.values()) else replace(best, weights=dict.fromkeys(best.weights, 1.0))
