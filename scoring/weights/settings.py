"""The settings of a weight search: one value, parsed from the command line and checked when it is made."""

from dataclasses import dataclass

SHRINKAGES = (0.0, 0.5, 1.0)  # how far weights are shrunk towards equal ones; each is cross-validated


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """Length, seed, polish and shrinkage of a weight search. ValueError for a value out of range."""

    trials: int = 40
    """Weight vectors that the search tries, up to seven warm starts among them."""
    seed: int = 0
    """The same seed repeats the search."""
    polish: int = 0
    """Further evaluations from the best trial: a coordinate ascent, then CMA-ES."""
    shrink: float = 0.0
    """Shrink the best weights towards equal ones: 0 not at all, 0.5 half-way, 1 all the way."""

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"--trials is {self.trials}; a search needs at least 1")
        if self.seed < 0:
            raise ValueError(f"--seed is {self.seed}; a seed is 0 or a positive integer")
        if self.polish < 0:
            raise ValueError(f"--polish is {self.polish}; it is a number of evaluations, 0 for none")
        if self.shrink not in SHRINKAGES:
            raise ValueError(
                f"--shrink is {self.shrink}; choose 0 (weights as searched), 0.5 or 1 (equal weights), which are "
                "cross-validated"
            )


DEFAULTS = SearchSettings()
