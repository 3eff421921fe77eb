"""Greedy selection of members with replacement: Caruana, Niculescu-Mizil, Crew and Ksikes, ICML 2004.

It explains an ensemble: who comes in when, and what that adds.
"""

from collections.abc import Sequence

import polars as pl

from scoring.weights.objective import Objective

GREEDY = pl.Schema({"step": pl.UInt32, "member": pl.String, "map": pl.Float64, "gain": pl.Float64, "share": pl.Float64})


def greedy_selection(objective: Objective, *, k: float, steps: int = 25) -> pl.DataFrame:
    """Start with the best member, then add at each step the member that gives the highest MAP; one may come again.

    A member's weight is the number of times that it was added. Ends after `steps`, or at the first step that would not
    raise MAP. Equal MAPs are decided by name.

    Returns:
        One row per step: step u32 from 1, member, map (with it), gain (over the step before; of the first its MAP), and
        share (of this member after the step), f64.
    """
    counts = dict.fromkeys(objective.members, 0.0)
    rows: list[tuple[int, str, float, float, float]] = []
    before = 0.0
    for step in range(1, steps + 1):
        maps = {member: objective.map({**counts, member: counts[member] + 1}, k) for member in sorted(counts)}
        member = max(maps, key=lambda name: maps[name])
        if rows and maps[member] <= before:
            break
        counts[member] += 1
        rows.append((step, member, maps[member], maps[member] - before, counts[member] / step))
        before = maps[member]
    return pl.DataFrame(rows, GREEDY, orient="row")


def never_selected(selection: pl.DataFrame, members: Sequence[str]) -> list[str]:
    """The members that greedy selection leaves out, by name."""
    return sorted(set(members) - set(selection["member"]))
