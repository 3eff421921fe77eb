"""The report on weights: their MAP on the judgments, its baselines, and their cross-validated MAP."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from scoring.measures.average_precision import Mode
from scoring.measures.bootstrap import FEWEST, RESAMPLES, Difference, p_text
from scoring.weights.cross_validation import CrossValidation
from scoring.weights.settings import SHRINKAGES
from scoring.weights.trials import best_of
from scoring.weights.weights_json import Measured, Weights
from terminal.cli import counted
from terminal.tables import table_text
from videos.judgments import Unit


@dataclass(frozen=True, kw_only=True)
class Report:
    """MAP of an ensemble on judgments, with its baselines and its cross-validated MAP.

    `map` (of the full fused lists), `equal_weights` and each member's own MAP in `members` are on these judgments; each
    has its bootstrap interval (`intervals` lacks members without a class to average over). `cross_validated` is None if
    the judgments cannot be halved; `better_than_best_member` is paired by resample; `leave_one_out` is the MAP lost
    without each member. The judgments have `units` units (videos or classes: `unit`), which are resampled and halved.
    `shrink` is how far the weights were shrunk towards equal ones after the search. `given` is true for weights that no
    search chose on these judgments: they are scored on the halves as they are.
    """

    map: float
    interval: tuple[float, float]
    k: float
    weights: dict[str, float]
    members: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    equal_weights: float
    equal_weights_interval: tuple[float, float]
    cross_validated: CrossValidation | None
    better_than_best_member: Difference
    leave_one_out: dict[str, float]
    unit: Unit
    units: int
    shrink: float
    seed: int
    cutoff: int
    mode: Mode
    given: bool = False

    @property
    def best_member(self) -> str:
        """The member of the highest MAP."""
        return best_of(self.members)

    @property
    def cross_validated_map(self) -> float | None:
        """The cross-validated MAP of weights shrunk by the same amount as these."""
        validated = self.cross_validated
        if validated is None:
            return None
        by_shrinkage = (validated.fitted, validated.shrunk, validated.equal_weights)
        return dict(zip(SHRINKAGES, by_shrinkage, strict=True))[self.shrink]

    def weights_file(self, trials: int, runs: Mapping[str, str] | None = None) -> Weights:
        """The content of weights.json; `trials` is the number of trials, `runs` has the members' infer runs."""
        measured = Measured(
            map=self.map,
            cutoff=self.cutoff,
            mode=self.mode,
            equal_weights=self.equal_weights,
            best_member=self.members[self.best_member],
            trials=trials,
            seed=self.seed,
            shrink=self.shrink,
        )
        return Weights(self.k, self.weights, measured, self.interval, dict(runs or {}))

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    def text(self, command: str) -> str:
        """The report for people; `command` is the command line that shrinks the weights towards equal ones."""
        members = table_text(
            ("member", "own MAP", "95 % interval", "weight", "MAP lost without it"),
            [
                (
                    name,
                    f"{self.members[name]:.4f}",
                    interval_text(self.intervals.get(name)),
                    f"{weight:.3f}",
                    f"{self.leave_one_out[name]:+z.4f}" if name in self.leave_one_out else "-",
                )
                for name, weight in self.weights.items()
            ],
        )
        validated, best = self.cross_validated, self.best_member
        rows = [("fused", self.map, self.interval, self.cross_validated_map)]
        if self.shrink == 0:
            rows += [("shrunk half-way", None, None, validated and validated.shrunk)]
        rows += [
            ("equal weights", self.equal_weights, self.equal_weights_interval, validated and validated.equal_weights),
            ("best member", self.members[best], self.intervals.get(best), validated and validated.best_member),
        ]
        scores = table_text(
            (f"MAP@{self.cutoff}", "on these judgments", "95 % interval", "cross-validated"),
            [
                (name, _score(here), interval_text(interval), _score(held_out))
                for name, here, interval, held_out in rows
            ],
        )
        units = counted(self.units, self.unit)
        lines = [
            members,
            "",
            scores,
            "",
            f"Fused with k {self.k:.4g}. Best member: {best} alone. Intervals: over {RESAMPLES:,} bootstrap "
            f"resamples of {units}.",
            "The weights were given. Cross-validated: the same weights on halves of the "
            f"{units}; the best member is that of the other half."
            if self.given
            else "The first column is optimistic, since the weights were chosen on these judgments. Cross-validated: "
            f"chosen on half of the {units} (by a short coordinate ascent instead of the search), scored on the "
            "other half.",
            *self.remarks(command),
        ]
        return "\n".join(lines)

    def remarks(self, command: str) -> list[str]:
        """Sentences: whether the ensemble beats its best member, and reasons to doubt its weights."""
        gain = self.better_than_best_member
        units = counted(gain.units, self.unit)
        remarks = [
            f"On these judgments the ensemble's MAP minus its best member's is {gain.map:+z.4f}, 95 % interval "
            f"{gain.low:+z.4f} to {gain.high:+z.4f} over {units} (p {p_text(gain.p)})."
            if gain.has_verdict
            else f"{units} cannot show whether the ensemble beats its best member; at least {FEWEST} are needed."
        ]
        if without := [member for member, share in self.weights.items() if not share]:
            remarks += [f"Not needed on these judgments, at a weight of 0: {', '.join(without)}."]
        if unneeded := [member for member, lost in self.leave_one_out.items() if lost <= 0]:
            remarks += [f"Each of these can be left out without loss on these judgments: {', '.join(unneeded)}."]
        return remarks + self.doubt(command)

    def doubt(self, command: str) -> list[str]:
        """A sentence with the remedy if the weights do not beat equal weights or the best member out of sample."""
        validated, ensemble = self.cross_validated, self.cross_validated_map
        if validated is None or ensemble is None or len(self.weights) == 1:
            return []
        if self.shrink == 1 or ensemble > validated.equal_weights:
            if ensemble >= validated.best_member:
                return []
            scores = f"({ensemble:.4f}, the member {validated.best_member:.4f})"
            return [f"The ensemble does not beat its best member out of sample {scores}."]
        scores = f"({ensemble:.4f}, equal {validated.equal_weights:.4f})"
        if self.given:
            return [f"The weights do not beat equal weights out of sample {scores}."]
        if self.shrink:
            return [
                f"Even so the weights do not beat equal weights out of sample {scores}; --shrink 1 makes them equal."
            ]
        return [
            f"The weights do not beat equal weights out of sample {scores}. Shrunk half-way towards equal weights they "
            f"score {validated.shrunk:.4f} there: `{command}` (--shrink 1: equal weights)."
        ]


CONTENT = tuple(field.name for field in fields(Report))


def interval_text(interval: tuple[float, float] | None) -> str:
    """`0.7000 to 0.9000`; `-` without an interval."""
    return "-" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"


def read_report(path: Path) -> Report:
    """A report as `Report.write` wrote it; ValueError if the file is cut off."""
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); make it again") from error
    validated = content["cross_validated"]
    return Report(
        **{
            **content,
            "interval": tuple(content["interval"]),
            "intervals": {member: tuple(interval) for member, interval in content["intervals"].items()},
            "equal_weights_interval": tuple(content["equal_weights_interval"]),
            "cross_validated": CrossValidation(**validated) if validated else None,
            "better_than_best_member": Difference(**content["better_than_best_member"]),
        }
    )


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
