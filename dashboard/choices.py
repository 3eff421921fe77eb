"""Weights and k as the reader of the page What if sets them, and as the page's address stores them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from dashboard.tables import signed
from scoring.measures.bootstrap import Difference, p_text
from scoring.weights.weights_json import Weights

LARGEST_K = 1000.0


@dataclass(frozen=True)
class Choice:
    """Weights of the members that take part (0 to 1, in no need to sum to 1), and k."""

    weights: Mapping[str, float]
    k: float

    @property
    def shares(self) -> dict[str, float]:
        """The weights divided by their sum; empty if all are 0."""
        total = sum(self.weights.values())
        return {member: weight / total for member, weight in self.weights.items()} if total else {}


def scaled(weights: Mapping[str, float], k: float) -> Choice:
    """The same shares with the largest weight at 1, without members of weight 0: what sliders show best."""
    largest = max(weights.values())
    return Choice({member: round(weight / largest, 4) for member, weight in weights.items() if weight > 0}, round(k, 4))


def exact(choice: Choice, best: Weights) -> tuple[dict[str, float], float]:
    """Shares of all members and k: those of the search, unrounded, if the choice shows them."""
    if choice == scaled(best.weights, best.k):
        return best.weights, best.k
    return {member: choice.shares.get(member, 0.0) for member in best.weights}, choice.k


def to_address(choice: Choice) -> dict[str, str]:
    """The choice as parameters of the page's address."""
    return {"weights": json.dumps(dict(choice.weights), separators=(",", ":")), "k": f"{choice.k:g}"}


def from_address(address: Mapping[str, str], members: Iterable[str]) -> Choice | None:
    """The choice in an address; None if it has none, or one that does not fit these members."""
    try:
        weights = {str(member): float(weight) for member, weight in json.loads(address["weights"]).items()}
        k = float(address["k"])
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
    is_valid = weights and set(weights) <= set(members) and all(0 <= weight <= 1 for weight in weights.values())
    return Choice(weights, k) if is_valid and 0 < k <= LARGEST_K else None


def verdict(gain: Difference) -> str:
    """The interval of a difference and whether it can be told from none, in words."""
    if gain.low == gain.high == 0:
        return "no difference on any of the videos or classes"
    if not gain.has_verdict:
        return f"{gain.units} videos or classes are too few for a verdict"
    interval = f"95 % interval {signed(gain.low)} to {signed(gain.high)}, p {p_text(gain.p)}"
    if gain.low > 0:
        return f"better: {interval}"
    return f"worse: {interval}" if gain.high < 0 else f"not told apart: {interval}"


def largest_changes(changes: pl.DataFrame, count: int = 12) -> pl.DataFrame:
    """The `count` largest gains and as many losses of `class_changes`, without classes that do not change."""
    changed = changes.filter(pl.col("change").abs() > 1e-12)
    return changed if changed.height <= 2 * count else pl.concat([changed.head(count), changed.tail(count)])
