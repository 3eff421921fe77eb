"""A search over plain files with all that must be said of its result."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import polars as pl

from scoring.average_precision import Mode
from scoring.objective import Objective
from scoring.ranked import RankedLists
from scoring.resampling import CrossValidation, cross_validated_map
from scoring.search import Search, Trial, search
from scoring.weights import Weights, weigh


@dataclass(frozen=True)
class Report:
    """A search, its weights as they are written, and MAP where nothing was fitted (None where there is one video)."""

    search: Search
    weights: Weights
    validated: CrossValidation | None

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
                lines += ["The weights do not beat equal weights there: use equal weights, or judge more segments."]
        return "\n".join(lines)


def search_and_validate(
    sources: Mapping[str, RankedLists],
    judgments: pl.DataFrame,
    trials: int,
    seed: int,
    polish: int,
    cut: int,
    mode: Mode,
) -> Report:
    """Search, measure the result on the full lists, and cross-validate; with a progress bar on a terminal."""
    objective = Objective.of(sources, judgments, cut, mode)
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("optimize", total=trials + polish + len(sources))

        def report(trial: Trial) -> None:
            bar.advance(task)

        found = search(objective, trials, seed, polish, report)
    weights, _ = weigh(found, sources, judgments, trials, seed, cut, mode)
    try:
        validated = cross_validated_map(objective, seed=seed)
    except ValueError:  # a single video cannot be halved
        validated = None
    return Report(found, weights, validated)
