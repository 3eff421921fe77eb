"""`weights.json`: the weights of an ensemble's members with what was measured of them."""

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from files.replacing import replacing
from scoring.lists.text import brief

LARGEST = sys.float_info.max


@dataclass(frozen=True)
class Measured:
    """MAP@`k_at` on the judgments that the weights were chosen on (so optimistic), and of what it is compared with.

    `shrink` is how far the weights were drawn toward equal ones after that (0 to 1).
    """

    map: float
    k_at: int
    mode: str
    equal_weights: float
    best_member: float
    trials: int
    seed: int
    shrink: float = 0.0


@dataclass(frozen=True)
class Weights:
    """Shares of the members (they sum to 1) and the k that they are fused with.

    A file written by hand needs `k` and `weights` alone. `interval` is that of the MAP over videos, `runs` names the
    infer run of each member.
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
    """Read weights.json; ValueError with the reason when k or the weights are not numbers."""
    remedy = 'a weights file holds {"k": 5.06, "weights": {"<member>": 0.5, ...}}'
    try:
        content = json.loads(Path(path).read_text(), object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}); {remedy}") from error
    if not isinstance(content, dict) or not isinstance(content.get("weights"), dict) or not content["weights"]:
        raise ValueError(f"{path} has no weights; {remedy}")
    for name, value in {"k": content.get("k"), **content["weights"]}.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
            raise ValueError(f"{path}: {name} is {brief(repr(value))}, which is no number; {remedy}")
    measured, interval = content.get("objective"), content.get("interval")
    try:
        objective = Measured(**measured) if measured else None
        low_high = (float(interval[0]), float(interval[1])) if interval else None
        return Weights(float(content["k"]), content["weights"], objective, low_high, content.get("runs") or {})
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise ValueError(f"{path} has an objective or interval that is none ({error}); leave it out") from error


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object; ValueError where a name stands twice, since the first value would be lost."""
    names = [name for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{twice[0]} stands there twice")
    return dict(pairs)
