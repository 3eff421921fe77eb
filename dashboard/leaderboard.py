"""The members of a line-up compared: who is told apart from whom, differences to a reference, settings, seeds."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from dashboard.data import LineUp, Member, finished, mlflow_url
from scoring.measures.bootstrap import Bootstrap, Difference, Resampled, holm
from scoring.weights.judged_pairs import MEMBER_RANK, members_of
from tracking import metrics
from tracking.runs import COMMIT, DATA_DIGEST, PARAMETERS, SEED, STAGE, Record
from videos.judgments import JUDGMENTS, Judgments

DISTINCT = 0.05  # p-value, corrected for all pairs of members, below which two are told apart
CUTOFFS = (10, 100, 1000)  # of Judged@n
NEEDED = 0.0  # leave-one-out gain up to which a member is not needed
NEGLIGIBLE = 0.0005  # weight that pages round to 0.0 %: a search leaves some of 1e-7
# Params that say where a run came from, not how it was set up.
ORIGINS = ("start_run", "start_runs", "checkpoint_run", "processes", "examples", "segments")
DIFFERENCES = ("map", "pretrained", "finetuned", "merged", "judged_10", "judged_100", "judged_1000", "seconds")
SCHEMA = {
    "member": pl.String,
    "group": pl.String,
    "map": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "spread": pl.Float64,
    "weight": pl.Float64,
    "leave_one_out": pl.Float64,
    "why": pl.String,
    "pretrained": pl.Float64,
    "finetuned": pl.Float64,
    "merged": pl.Float64,
    **{f"judged_{cutoff}": pl.Float64 for cutoff in CUTOFFS},
    "best_step": pl.Int64,
    "steps": pl.Int64,
    "seconds": pl.Float64,
    "parameters": pl.Int64,
    "published": pl.Float64,
    "framework": pl.String,
    "state": pl.String,
    "url": pl.String,
}

# The columns that readers see, and their titles.
TITLES = {
    "member": "Member",
    "group": "Ties",
    "map": "MAP@100K",
    "low": "Interval from",
    "high": "to",
    "spread": "± over seeds",
    "weight": "Weight",
    "leave_one_out": "Lost without it",
    "why": "Why not needed",
    "pretrained": "Pre-trained",
    "finetuned": "Fine-tuned",
    "merged": "Shifts merged",
    "judged_10": "Judged@10",
    "judged_100": "Judged@100",
    "judged_1000": "Judged@1000",
    "best_step": "Best step",
    "seconds": "Seconds",
    "parameters": "Parameters",
    "published": "Published (YouTube-8M)",
    "state": "State",
}


@dataclass(frozen=True)
class Standing:
    """The members resampled on the same videos: name -> result, best first."""

    members: Mapping[str, Resampled]

    @property
    def best(self) -> str:
        return next(iter(self.members))

    def over(self, reference: str) -> dict[str, Difference]:
        """How much higher each other member's MAP is than the reference's, paired."""
        base = self.members[reference]
        return {member: measured.over(base) for member, measured in self.members.items() if member != reference}

    def groups(self) -> dict[str, str]:
        """Letters of each member: two members share one if they cannot be told apart; `a` has the best one.

        Told apart: the paired p-value, Holm-corrected for all pairs of members, is below 5 %. A group is a largest set
        of members of which no two are told apart (a maximal clique), as in a compact letter display.
        """
        names = list(self.members)
        pairs = [(one, other) for number, one in enumerate(names) for other in names[number + 1 :]]
        corrected = holm([self.members[one].over(self.members[other]).p for one, other in pairs])
        tied: dict[str, set[str]] = {name: set() for name in names}
        for (one, other), p in zip(pairs, corrected, strict=True):
            if p >= DISTINCT:
                tied[one].add(other)
                tied[other].add(one)
        groups = _largest_groups(names, tied)
        letters = {name: "" for name in names}
        for number, group in enumerate(groups):
            for name in group:
                letters[name] += _letter(number)
        return letters


def standing(pairs: pl.DataFrame) -> Standing:
    """The members of a table of judged pairs (`scoring.weights.judged_pairs`), resampled."""
    judgments = Judgments(pairs.select(*JUDGMENTS))
    bootstrap = Bootstrap(judgments)
    results = {}
    for member in members_of(pairs):
        ranks = pairs.select(*JUDGMENTS, rank=pl.col(f"{MEMBER_RANK}{member}")).drop_nulls("rank")
        results[member] = bootstrap.measure(ranks.sort("class_id", "rank"), judgments.classes)
    return Standing(dict(sorted(results.items(), key=lambda item: (-item[1].map, item[0]))))


def judged_at(pairs: pl.DataFrame) -> pl.DataFrame:
    """Share of judged segments among each member's first 10, 100 and 1,000, mean over the classes with a positive.

    Columns member, judged_10, judged_100, judged_1000. Lists that are shorter count as if unjudged segments followed.
    """
    classes = pairs["class_id"].n_unique()
    rows = []
    for member in members_of(pairs):
        ranks = pairs[f"{MEMBER_RANK}{member}"]
        rows.append((member, *((ranks <= cutoff).sum() / cutoff / classes for cutoff in CUTOFFS)))
    return pl.DataFrame(rows, ["member", *(f"judged_{cutoff}" for cutoff in CUTOFFS)], orient="row")


def table(
    line_up: LineUp, *, pairs: pl.DataFrame | None, resampled: Standing | None, similar: pl.DataFrame | None
) -> pl.DataFrame:
    """One row per member, best first, with the columns of `SCHEMA`; what is not known is null.

    `spread` is for `by_seed`. `why` says of a member of weight 0, or without whom the ensemble is no worse, why.

    Args:
        line_up: The line-up.
        pairs: Its judged pairs.
        resampled: Its standing on these pairs.
        similar: The similarity of its members (`scoring.measures.similarity`).
    """
    letters = resampled.groups() if resampled else {}
    judged = {row["member"]: row for row in judged_at(pairs).iter_rows(named=True)} if pairs is not None else {}
    reasons = why_unneeded(line_up, similar)
    rows = []
    for member in line_up.members:
        measured = resampled.members.get(member.name) if resampled else None
        training = finished(member.stages, "finetune")
        low, high = measured.interval if measured else (None, None)
        params = training.params if training else {}
        rows.append(
            {
                "member": member.name,
                "group": letters.get(member.name),
                "map": measured.map if measured else member.best,
                "low": low,
                "high": high,
                "weight": member.weight,
                "leave_one_out": _lost(line_up, member),
                "why": reasons.get(member.name),
                "pretrained": member.pretrained,
                "finetuned": member.finetuned,
                "merged": member.merged,
                **{key: value for key, value in judged.get(member.name, {}).items() if key != "member"},
                "best_step": training and _best_step(member, training),
                "steps": _whole(params.get("steps") or params.get("rounds")),
                "seconds": _seconds(member),
                "parameters": _whole(params.get(PARAMETERS)),
                "published": member.published,
                "framework": member.framework,
                "state": member.state,
                "url": mlflow_url(member.run),
            }
        )
    return pl.DataFrame(rows, SCHEMA).sort("map", "member", descending=[True, False], nulls_last=True)


def why_unneeded(line_up: LineUp, similar: pl.DataFrame | None) -> dict[str, str]:
    """Member -> why it has no weight, or why the ensemble is no worse without it.

    A better member with a weight dominates it if it is the one whose lists are most like its own. A weight below
    `NEGLIGIBLE` is none.
    """
    weights = line_up.ensemble.weights if line_up.ensemble else {}
    scores = {member.name: member.best or 0.0 for member in line_up.members}
    reasons = {}
    for member in line_up.members:
        lost, weight = _lost(line_up, member), weights.get(member.name)
        if weight is None or (weight >= NEGLIGIBLE and (lost is None or lost > NEEDED)):
            continue
        reason = "adds nothing on the holdout" if weight < NEGLIGIBLE else "the ensemble is no worse without it"
        rival = _most_similar(similar, member.name, weights)
        if rival and scores.get(rival[0], 0.0) > scores[member.name]:
            reason += f"; dominated by {rival[0]} at rank correlation {rival[1]:.2f}"
        reasons[member.name] = reason
    return reasons


def against(board: pl.DataFrame, reference: str, resampled: Standing | None) -> pl.DataFrame:
    """The board with differences to the reference in place of values, and the columns low, high of that difference.

    Of MAP the paired 95 % interval, null for the reference itself and where nothing was resampled. A new column `p` has
    the p-value of no difference.
    """
    base = board.row(by_predicate=pl.col("member") == reference, named=True)
    changed = board.with_columns(
        pl.lit(None, pl.Float64).alias(name) if base[name] is None else (pl.col(name) - base[name]).alias(name)
        for name in DIFFERENCES
    )
    paired = resampled.over(reference) if resampled and reference in resampled.members else {}
    rows = [
        (name, difference.low, difference.high, difference.p)
        for name, difference in paired.items()
        if difference.has_verdict
    ]
    intervals = pl.DataFrame(
        rows, {"member": pl.String, "low": pl.Float64, "high": pl.Float64, "p": pl.Float64}, orient="row"
    )
    return changed.drop("low", "high").join(intervals, on="member", how="left", maintain_order="left")


def by_seed(board: pl.DataFrame, settings: Mapping[str, Mapping[str, str]]) -> pl.DataFrame:
    """The board with one row per group of members that differ in their seed alone; `settings` as from `all_settings`.

    Numbers are means over the seeds, `spread` is the standard deviation of MAP over them, `weight` their sum. Group,
    interval, reason and links are of single runs, so such a row has none. The name is what the members' names share.
    """
    groups: dict[tuple, list[str]] = {}
    for member in board["member"]:
        values = settings.get(member, {})
        identity = tuple(sorted((name, value) for name, value in values.items() if not name.endswith(f" {SEED}")))
        groups.setdefault(identity if values else (member,), []).append(member)
    rows = []
    for names in groups.values():
        seeds = board.filter(pl.col("member").is_in(names))
        if seeds.height == 1:
            rows.append(seeds)
            continue
        numbers = [name for name, kind in SCHEMA.items() if kind == pl.Float64 and name not in ("low", "high")]
        rows.append(
            seeds.select(
                pl.lit(_shared_name(names)).alias("member"),
                *(pl.col(name).mean() for name in numbers if name not in ("spread", "weight")),
                pl.col("map").std().alias("spread"),
                pl.col("weight").sum(),
                pl.col("steps").max(),
                pl.col("parameters").max(),
                pl.col("framework").first(),
                pl.lit(f"{seeds.height} seeds").alias("state"),
            )
        )
    merged = pl.concat(rows, how="diagonal").select(*SCHEMA)
    return merged.sort("map", "member", descending=[True, False], nulls_last=True)


def all_settings(line_up: LineUp) -> dict[str, dict[str, str]]:
    """Member -> its settings, as the stages logged them: `<stage> <param>` -> value."""
    return {member.name: _settings(member) for member in line_up.members}


def differing(settings: Mapping[str, Mapping[str, str]], members: Sequence[str]) -> pl.DataFrame:
    """The settings in which some members differ: setting, and a column per member ("–": does not have it)."""
    names = sorted({name for member in members for name in settings[member]})
    rows = [(name, *(settings[member].get(name, "–") for member in members)) for name in names]
    rows = [row for row in rows if len(set(row[1:])) > 1]
    return pl.DataFrame(rows, {"setting": pl.String, **dict.fromkeys(members, pl.String)}, orient="row")


def _settings(member: Member) -> dict[str, str]:
    settings = {"framework": member.framework}
    for run in reversed(member.stages):  # the newest comes first
        stage = run.tags.get(STAGE, run.name)
        if run.tags.get("split") == "test":
            continue
        settings |= {f"{stage} {name}": value for name, value in run.params.items() if name not in ORIGINS}
        for title, tag in (("data", DATA_DIGEST), ("commit", COMMIT)):
            if tag in run.tags:
                settings[f"{stage} {title}"] = run.tags[tag][:12]
    return settings


def _lost(line_up: LineUp, member: Member) -> float | None:
    return line_up.ensemble.score(metrics.leave_one_out(member.name)) if line_up.ensemble else None


def _best_step(member: Member, training: Record) -> int | None:
    """The step that a fine-tuning kept, counted from its own start: it continues the steps of pre-training.

    None if it started from a run that is not the member's newest pre-training.
    """
    chosen, start_run = training.metrics.get(metrics.CHOSEN_STEP), training.params.get("start_run")
    if chosen is None or not start_run:
        return _whole(chosen)
    start = next((run for run in member.stages if run.run_id == start_run), None)
    begin = start.metrics.get(metrics.CHOSEN_STEP) if start else None
    return None if begin is None else _whole(chosen - begin)


def _seconds(member: Member) -> float | None:
    """Seconds of all finished stages together."""
    seconds = [run.metrics[metrics.SECONDS] for run in member.stages if metrics.SECONDS in run.metrics]
    return sum(seconds) if seconds else None


def _most_similar(similar: pl.DataFrame | None, member: str, weights: Mapping[str, float]) -> tuple[str, float] | None:
    """The member with a weight that has the highest rank correlation to `member`, and that correlation."""
    if similar is None:
        return None
    voting = [name for name, weight in weights.items() if weight >= NEGLIGIBLE]
    others = similar.filter((pl.col("member") == member) & pl.col("other").is_in(voting)).drop_nulls("correlation")
    if others.is_empty():
        return None
    best = others.sort("correlation", descending=True).row(0, named=True)
    return best["other"], best["correlation"]


def _largest_groups(names: Sequence[str], tied: Mapping[str, set[str]]) -> list[list[str]]:
    """Every largest set of members that are all tied with each other, ordered by their best members."""
    groups: list[list[str]] = []

    def extend(group: list[str], candidates: list[str], excluded: list[str]) -> None:
        """Bron and Kerbosch's search for maximal cliques (1973)."""
        if not candidates and not excluded:
            groups.append(group)
        for name in list(candidates):
            extend(
                [*group, name],
                [other for other in candidates if other in tied[name]],
                [other for other in excluded if other in tied[name]],
            )
            candidates.remove(name)
            excluded.append(name)

    extend([], list(names), [])
    order = {name: number for number, name in enumerate(names)}
    return sorted(groups, key=lambda group: sorted(order[name] for name in group))


def _letter(number: int) -> str:
    """a to z, then a2, b2, ..."""
    again = number // 26 + 1
    return chr(ord("a") + number % 26) + (str(again) if again > 1 else "")


def _shared_name(names: Sequence[str]) -> str:
    first, last = min(names), max(names)
    length = next((place for place, letter in enumerate(first) if last[place] != letter), len(first))
    shared = re.sub(r"[-_. ]+(seed|s)?$", "", first[:length])
    return f"{shared or first} ({len(names)} seeds)"


def _whole(value: float | str | None) -> int | None:
    try:
        return None if value is None else int(float(value))
    except ValueError:
        return None
