"""A search over plain files with all that must be said of its result."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import polars as pl

from scoring.average_precision import Mode, ranks_of_blocks
from scoring.fusion import fuse_blocks
from scoring.objective import Objective
from scoring.ranked import RankedLists, parts
from scoring.resampling import (
    CrossValidation,
    Difference,
    cross_validated_map,
    leave_one_out,
    paired_difference,
    shrink,
)
from scoring.search import Search, Trial, search
from scoring.trial_log import TrialLog
from scoring.weights import Weights, weigh


@dataclass(frozen=True)
class Report:
    """A search, its weights as they are written, and MAP where nothing was fitted (None where there is one video).

    `better` is by how much the fusion beats the best member on the same draws of videos; `gains` is what each member
    adds to the others.
    """

    search: Search
    weights: Weights
    validated: CrossValidation | None
    better: Difference
    gains: dict[str, float]

    def summary(self) -> dict[str, object]:
        """What `--json` prints."""
        return {
            "map": self.search.map,
            "k": self.search.k,
            "weights": self.search.weights,
            "interval": self.weights.interval,
            "members": self.search.members,
            "equal_weights": self.search.equal_weights,
            "cross_validated": asdict(self.validated) if self.validated else None,
            "better_than_best_member": asdict(self.better),
            "leave_one_out": self.gains,
            "trials": self.search.trials.height,
            "seconds": self.search.trials["seconds"].sum(),
        }

    def text(self) -> str:
        """The same for people, with a word on whether to believe it."""
        found, width = self.search, max(map(len, self.search.weights))
        low, high = self.weights.interval or (0.0, 0.0)
        lines = [f"{'member':{width}}  own MAP  weight"]
        lines += [f"{name:{width}}  {found.members[name]:.4f}   {found.weights[name]:.3f}" for name in found.weights]
        lines += [
            "",
            f"fused    {found.map:.4f}, 95 % interval {low:.4f} to {high:.4f}, k {found.k:.4g}; "
            "optimistic, since the weights were chosen on these judgments",
            f"equal    {found.equal_weights:.4f}",
            f"best     {found.members[found.best_member]:.4f} ({found.best_member} alone)",
        ]
        if self.validated:
            fitted, equal, best = self.validated.fitted, self.validated.equal_weights, self.validated.best_member
            lines += [f"on judgments it was not fitted on: fused {fitted:.4f}, equal {equal:.4f}, best {best:.4f}"]
            if fitted <= equal:
                shrunk = self.validated.shrunk
                lines += [
                    "The weights do not beat equal weights there: use equal weights, or judge more segments. Shrunk "
                    f"half-way toward equal weights (--shrink 0.5) they score {shrunk:.4f}."
                ]
        gain = self.better
        lines += [
            f"fused beats the best member by {gain.map:.4f}, 95 % interval {gain.low:.4f} to {gain.high:.4f}; "
            f"in {gain.above:.1%} of the draws of the videos it does"
        ]
        if unneeded := [member for member, gain in self.gains.items() if gain <= 0]:
            lines += [f"without loss on these judgments can be left out, one at a time: {', '.join(unneeded)}"]
        return "\n".join(lines)


def search_and_validate(
    sources: Mapping[str, RankedLists],
    judgments: pl.DataFrame,
    trials: int,
    seed: int,
    polish: int,
    cut: int,
    mode: Mode,
    shrunk: float = 0.0,
    unfinished: Path | None = None,
) -> Report:
    """Search, measure the result on the full lists, and cross-validate; with a progress bar on a terminal.

    The found weights are then drawn toward equal ones by `shrunk` (0 to 1). The file `unfinished` keeps the trials of a
    search that is stopped, which the next one goes on with.
    """
    if not 0 <= shrunk <= 1:
        raise ValueError(f"--shrink is {shrunk}; it goes from 0 (the weights as found) to 1 (equal weights)")
    objective = Objective.of(sources, judgments, cut, mode)
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("optimize", total=trials + polish + len(sources))

        kept = TrialLog(unfinished, objective, seed) if unfinished else None

        def report(trial: Trial) -> None:
            bar.advance(task)
            if kept:
                kept(trial)

        found = search(objective, trials, seed, polish, report, kept.known if kept else ())
    if shrunk:
        drawn = shrink(found.weights, shrunk)
        found = replace(found, weights=drawn, map=objective.map(drawn, found.k))
    weights, _ = weigh(found, sources, judgments, trials, seed, cut, mode)
    try:
        validated = cross_validated_map(objective, seed=seed)
    except ValueError:  # a single video cannot be halved
        validated = None
    fused, _ = ranks_of_blocks(fuse_blocks(sources, found.weights, found.k, cut), judgments, cut)
    best, _ = ranks_of_blocks(parts(sources[found.best_member]), judgments, cut)
    better = paired_difference(fused, best, judgments)
    if kept:
        kept.done()
    return Report(found, weights, validated, better, leave_one_out(objective, found.weights, found.k))
