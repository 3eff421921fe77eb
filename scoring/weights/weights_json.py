"""`weights.json`: the weights of an ensemble's members, with the MAP that was measured with them."""

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import get_args

from files.replacing import replacing
from scoring.lists.text import brief
from scoring.measures.average_precision import Mode
from scoring.weights.settings import SearchSettings

LARGEST = sys.float_info.max


@dataclass(frozen=True)
class Measured:
    """MAP@`cutoff` on the judgments that the weights were chosen on (so optimistic), its baselines, and the search.

    `trials` counts all trials that were scored; `shrink` is how far the weights were shrunk towards equal ones after
    the search. ValueError for values that no search writes.
    """

    map: float
    cutoff: int
    mode: Mode
    equal_weights: float
    best_member: float
    trials: int
    seed: int
    shrink: float = 0.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            is_count = name in ("cutoff", "trials", "seed")
            if name != "mode" and not (_is_number(value) and (isinstance(value, int) or not is_count)):
                raise ValueError(f"{name} is {brief(repr(value))}, which is no {'integer' if is_count else 'number'}")
        if self.mode not in get_args(Mode):
            raise ValueError(f"mode is {brief(repr(self.mode))}; it is one of {', '.join(get_args(Mode))}")
        if self.cutoff < 1:
            raise ValueError(f"cutoff is {self.cutoff}; it is at least 1")
        SearchSettings(trials=self.trials, seed=self.seed, shrink=self.shrink)


@dataclass(frozen=True)
class Weights:
    """Shares of the members (they sum to 1) and the k of their fusion.

    A file written by hand needs only `k` and `weights`. `interval` is the MAP's 95 % interval; `runs` has the id of
    each member's infer run.
    """

    k: float
    weights: dict[str, float]
    objective: Measured | None = None
    interval: tuple[float, float] | None = None
    runs: dict[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n")


def read_weights(path: Path) -> Weights:
    """Read weights.json; ValueError with the reason if k, the weights, the objective or the interval are invalid.

    Files of earlier versions name the cutoff `k_at`.
    """
    remedy = 'a weights file contains {"k": 5.06, "weights": {"<member>": 0.5, ...}}'
    try:
        content = json.loads(Path(path).read_text(), object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}); {remedy}") from error
    if not isinstance(content, dict) or not isinstance(content.get("weights"), dict) or not content["weights"]:
        raise ValueError(f"{path} has no weights; {remedy}")
    for name, value in [("k", content.get("k")), *content["weights"].items()]:  # a member may be named k
        if not _is_number(value):
            raise ValueError(f"{path}: {name} is {brief(repr(value))}, which is no number; {remedy}")
    measured, interval = content.get("objective"), content.get("interval")
    try:
        renamed = {"cutoff" if name == "k_at" else name: value for name, value in (measured or {}).items()}
        objective = Measured(**renamed) if renamed else None
        low_high = (float(interval[0]), float(interval[1])) if interval else None
        return Weights(float(content["k"]), content["weights"], objective, low_high, content.get("runs") or {})
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise ValueError(f"{path} has an invalid objective or interval ({error}); leave it out") from error


def _is_number(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and abs(value) <= LARGEST


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object; ValueError if a name is given twice, since the first value would be lost."""
    names = [name for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{twice[0]} is given twice")
    return dict(pairs)
