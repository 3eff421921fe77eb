"""A search for weights with all that must be said of its result: what it is worth here, and what elsewhere."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from scoring.measures.average_precision import Mode
from scoring.measures.bootstrap import Difference, Unit
from scoring.weights.cross_validation import CrossValidation
from scoring.weights.trials import best_of
from scoring.weights.weights_json import Measured, Weights

SHRINKAGES = (0.0, 0.5, 1.0)  # how far weights are drawn toward equal ones: what the cross-validated MAP is known of


@dataclass(frozen=True)
class Report:
    """What weights are worth on the judgments that they were chosen on, and where nothing was fitted.

    `map` (of the full fused lists), `equal_weights` and each member's own MAP in `members` are on these judgments; each
    has its bootstrap interval (in `intervals` but for members without a class to count). `cross_validated` is None
    where the judgments cannot be halved; `better_than_best_member` compares on the same draws; `leave_one_out` is what
    each member adds to the others. Drawn and halved is by `unit`: videos, or topics where ids name no video. `shrink`
    tells how far the weights have been drawn toward equal ones.
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
    shrink: float
    seed: int
    k_at: int
    mode: Mode

    @property
    def best_member(self) -> str:
        """The member of the highest MAP."""
        return best_of(self.members)

    @property
    def cross_validated_map(self) -> float | None:
        """The cross-validated MAP of weights that were drawn toward equal ones as far as these were."""
        validated = self.cross_validated
        if validated is None:
            return None
        known = (validated.fitted, validated.shrunk, validated.equal_weights)
        return dict(zip(SHRINKAGES, known, strict=True))[self.shrink]

    def weights_file(self, trials: int, runs: Mapping[str, str] | None = None) -> Weights:
        """What weights.json holds; `trials` led to it, `runs` are the infer runs of the members."""
        measured = Measured(
            map=self.map,
            k_at=self.k_at,
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
        """The report for people; `command` is what to type for weights that are drawn toward equal ones."""
        width = max(len("shrunk half-way"), *map(len, self.members))
        lines = [f"{'member':{width}}  own MAP  {'95 % interval':16}  weight  MAP lost without it"]
        for name in self.weights:
            lost = f"{self.leave_one_out[name]:+.4f}" if name in self.leave_one_out else "-"
            own = f"{self.members[name]:7.4f}  {ranging(self.intervals.get(name)):16}"
            lines += [f"{name:{width}}  {own}  {self.weights[name]:6.3f}  {lost:>19}"]
        lines += ["", f"{f'MAP@{self.k_at}':{width}}  on these judgments  {'95 % interval':16}  cross-validated"]
        validated, best = self.cross_validated, self.best_member
        rows = [("fused", self.map, self.interval, self.cross_validated_map)]
        if self.shrink == 0:
            rows += [("shrunk half-way", None, None, validated and validated.shrunk)]
        rows += [
            ("equal weights", self.equal_weights, self.equal_weights_interval, validated and validated.equal_weights),
            ("best member", self.members[best], self.intervals.get(best), validated and validated.best_member),
        ]
        for name, here, interval, elsewhere in rows:
            shown = ["-" if value is None else f"{value:.4f}" for value in (here, elsewhere)]
            lines += [f"{name:{width}}  {shown[0]:>18}  {ranging(interval):16}  {shown[1]:>15}"]
        lines += [
            "",
            f"Fused with k {self.k:.4g}. Best member: {best} alone. Intervals: over draws of the {self.unit}.",
            "The first column is optimistic, since the weights were chosen on these judgments. Cross-validated: chosen "
            f"on half of the {self.unit} (by a short climb in place of the search), scored on the other half.",
            *self.remarks(command),
        ]
        return "\n".join(lines)

    def remarks(self, command: str) -> list[str]:
        """Whether the ensemble beats its best member, and what speaks against its weights, a sentence or two each."""
        gain = self.better_than_best_member
        remarks = [
            f"On the same draws of the {self.unit} the ensemble beats its best member by {gain.low:+.4f} to "
            f"{gain.high:+.4f} (95 %); it is above in {gain.above:.1%} of them."
        ]
        if without := [member for member, share in self.weights.items() if not share]:
            remarks += [f"Not needed on these judgments, at a weight of 0: {', '.join(without)}."]
        if unneeded := [member for member, lost in self.leave_one_out.items() if lost <= 0]:
            remarks += [f"Without loss on these judgments can be left out, one at a time: {', '.join(unneeded)}."]
        return remarks + self.doubt(command)

    def doubt(self, command: str) -> list[str]:
        """What to say and to type where the weights do not beat equal ones out of sample; nothing where they do."""
        validated, own = self.cross_validated, self.cross_validated_map
        if validated is None or own is None or len(self.weights) == 1:
            return []
        if self.shrink == 1 or own > validated.equal_weights:
            if own >= validated.best_member:
                return []
            scores = f"({own:.4f}, the member {validated.best_member:.4f})"
            return [f"The ensemble does not beat its best member out of sample {scores}."]
        scores = f"({own:.4f}, equal {validated.equal_weights:.4f})"
        if self.shrink:
            return [
                f"Even so the weights do not beat equal weights out of sample {scores}; --shrink 1 makes them equal."
            ]
        return [
            f"The weights do not beat equal weights out of sample {scores}. Shrunk half-way toward equal weights they "
            f"score {validated.shrunk:.4f} there: `{command}` (--shrink 1: equal weights)."
        ]


CONTENT = tuple(field.name for field in fields(Report))


def ranging(interval: tuple[float, float] | None) -> str:
    """`0.7000 to 0.9000`; `-` where there is no interval."""
    return "-" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"


def read_report(path: Path) -> Report:
    """A report as `Report.write` left it."""
    content = json.loads(path.read_text())
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
