"""The comparisons behind the paper's claims, each with its difference, interval and verdict.

A comparison is one entry of `VARIANTS`, or a function below for what needs no training: windows of shifts, the ensemble
and its weights.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.claims_runs import CLIP, CONTENDERS, ENSEMBLE, OWN, SEARCHED, WINDOWS, Seed
from scoring import paper
from scoring.measures.bootstrap import ResampledMap, mean_over

LINEUP, VARIANT_LINEUP = "audioset", "audioset-claims"
BERT = "bert-l2h8-mean"
Merged = Literal["without shifts", "merged"]
Verdict = Literal["holds", "not told apart", "does not hold"]


@dataclass(frozen=True)
class Variant:
    """A comparison of two trained members: `member` is claimed to have the higher MAP than `against`."""

    claim: str
    member: str
    against: str
    words: str
    paper: str = ""
    lists: Merged = "without shifts"


def _gain(pair: tuple[float, float]) -> str:
    return f"{pair[1] - pair[0]:+z.4f} ({pair[0]:.4f} to {pair[1]:.4f})"


def _members(worse: str, better: str) -> str:
    return _gain((paper.MEMBERS[worse].private, paper.MEMBERS[better].private))


VARIANTS = [
    Variant(
        "C1", BERT, f"{BERT}-pretrained", "fine-tuned, over pre-trained alone", _gain(paper.TRANSFER["BERT(L2h12)"])
    ),
    *(
        Variant(
            "C1",
            f"{BERT}-share{percent}" if percent < 100 else BERT,
            f"{BERT}-scratch{percent}",
            f"pre-trained and fine-tuned, over fine-tuned from scratch, on {percent} % of the rated clips",
        )
        for percent in (10, 25, 50, 100)
    ),
    Variant(
        "C6",
        BERT,
        "bert-l2h8-first",
        "mean, over last frame",
        _members("bert-l2h12-first", "bert-l2h12-mean"),
        "merged",
    ),
    Variant(
        "C6",
        BERT,
        "bert-l2h8-concat",
        "mean, over all frames",
        _members("bert-l2h12-concat", "bert-l2h12-mean"),
        "merged",
    ),
    Variant("C6", BERT, "bert-l2h8-attention", "mean, over attention", "", "merged"),
    Variant(
        "C8",
        "bert-l3h8-mean",
        BERT,
        "three blocks, over two",
        _members("bert-l2h12-concat", "bert-l3h12-concat"),
        "merged",
    ),
    Variant("masks", BERT, f"{BERT}-mask-none", "judged pairs, over all classes", "", "merged"),
    Variant("masks", f"{BERT}-mask-mined", BERT, "mined negatives added, over judged pairs", "", "merged"),
    *(
        Variant("options", f"{BERT}-{option}", BERT, words, "", "merged")
        for option, words in (
            ("masked", "masked frames reconstructed in both stages, over labels alone"),
            ("varied", "windows shifted, diluted or enlarged in fine-tuning, over windows as rated"),
            ("consistency", "consistent predictions on shifted windows of unrated videos, over rated windows alone"),
            ("average", "mean of the last checkpoints, over one checkpoint"),
            ("prior", "scores mixed with the video's mean score, over a segment's own"),
        )
    ),
    Variant(
        "options",
        BERT,
        f"{BERT}-uniform",
        "clips of rare classes repeated in pre-training, over each clip once an epoch, both for 800 steps",
        "",
        "merged",
    ),
]


@dataclass(frozen=True)
class Row:
    """One comparison: `ours` minus `theirs`, one of each per seed, all measured on the same resamples of videos."""

    words: str
    ours: Sequence[ResampledMap]
    theirs: Sequence[ResampledMap]
    paper: str = ""

    @property
    def differences(self) -> list[float]:
        return [one.map - other.map for one, other in zip(self.ours, self.theirs, strict=True)]

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % bootstrap interval over videos of the difference averaged over the seeds, paired by resample."""
        return mean_over(self.ours).gain_interval(mean_over(self.theirs))

    @property
    def verdict(self) -> Verdict:
        low, high = self.interval
        return "holds" if low > 0 else "does not hold" if high < 0 else "not told apart"

    def cells(self) -> list[str]:
        low, high = self.interval
        spread = f"{statistics.stdev(self.differences):.4f}" if len(self.differences) > 1 else "-"
        maps = [f"{mean_over(side).map:.4f}" for side in (self.ours, self.theirs)]
        difference = f"{statistics.mean(self.differences):+z.4f}"
        return [self.words, *maps, difference, spread, f"{low:+z.4f} to {high:+z.4f}", self.verdict, self.paper or "-"]


@dataclass(frozen=True)
class Results:
    """The rows of each claim, and what the page says of their origin."""

    rows: Mapping[str, Sequence[Row]]
    standing: Sequence[Sequence[str]]  # of members and ensemble: name, MAP, its standard deviation, its interval
    seeds: int
    clips: int
    classes: int
    judged: int
    commit: str
    command: str
    trained: Sequence[str]  # the commits of the members' runs
    searches: Sequence[str]  # what Ax added, one sentence per seed
    selections: Sequence[str]  # greedy selection, one sentence per seed
    settings: Sequence[Sequence[str]] = field(default_factory=tuple)  # rows of `training.sweep.COLUMNS`


def read(seeds: Sequence[Seed], measured: str, command: str) -> Results:
    """Compare everything that the page has."""
    rows: dict[str, list[Row]] = {}
    for variant in VARIANTS:
        rows.setdefault(variant.claim, []).append(_trained(variant, seeds))
    rows["C3"] = shift_rows(seeds)
    plain, merged = maps_of(seeds, BERT, 0), maps_of(seeds, BERT, "[-2,2]")
    wide, clip = maps_of(seeds, f"{BERT}-wide", 0), maps_of(seeds, BERT, CLIP)
    rows["context"] = [
        Row(f"{BERT}: shifts -2 to 2, over a window of two frames more on each side", merged, wide),
        Row(f"{BERT}: the wider window at once, over the segment alone", wide, plain),
        Row(f"{BERT}: shifts -2 to 2, over the clip's mean score for each of its segments", merged, clip),
        Row(f"{BERT}: the segment's own score, over the clip's mean score", plain, clip),
    ]
    rows["averaged"] = averaged_rows(seeds)
    rows["C4"], rows["members"] = ensemble_rows(seeds), left_out_rows(seeds)
    judgments = seeds[0].bootstrap.judgments
    return Results(
        rows=rows,
        standing=standing(seeds),
        seeds=len(seeds),
        clips=judgments.unit_count,
        classes=len(judgments.classes),
        judged=judgments.pairs.height,
        commit=measured,
        command=command,
        trained=sorted({commit for seed in seeds for commit in seed.commits}),
        searches=[
            f"Seed {number}: {seed.search.warm:.4f}, Ax {seed.search.proposed:.4f}."
            for number, seed in enumerate(seeds)
            if seed.search.proposed is not None
        ],
        selections=[f"Seed {number}: {seed.greedy}." for number, seed in enumerate(seeds)],
    )


def maps_of(seeds: Sequence[Seed], member: str, lists: int | str) -> list[ResampledMap]:
    return [seed.member(member, lists) for seed in seeds]


def _trained(variant: Variant, seeds: Sequence[Seed]) -> Row:
    lists = OWN if variant.lists == "merged" else 0
    ours, theirs = (maps_of(seeds, member, lists) for member in (variant.member, variant.against))
    return Row(f"{variant.member} ({variant.words})", ours, theirs, variant.paper)


def shift_rows(seeds: Sequence[Seed]) -> list[Row]:
    """Per member and window: the shifts merged by rank, over none."""
    rows = []
    for member in seeds[0].shifted:
        rows += [window_row(seeds, member, window) for window in WINDOWS]
    return rows


def averaged_rows(seeds: Sequence[Seed]) -> list[Row]:
    """Per member and window: the mean probability over the shifts, over their ranks merged."""
    rows = []
    for member in seeds[0].shifted:
        for window in ("[-1,1]", "[-2,2]"):
            averaged = [seed.member(member, window, "score") for seed in seeds]
            words = f"{member} {window}, averaged, over by rank"
            rows.append(Row(words, averaged, maps_of(seeds, member, window)))
    return rows


def window_row(seeds: Sequence[Seed], member: str, window: str) -> Row:
    published = {("mix-nextvlad-60", "[-1,1]"): "MixNeXtVLAD", ("bert-l2h8-concat", "[-1,1]"): "BERT(L2h12)"}
    name = published.get((member, window))
    ours, theirs = maps_of(seeds, member, window), maps_of(seeds, member, 0)
    return Row(f"{member} {window}, by rank, over no shift", ours, theirs, _gain(paper.SHIFTS[name]) if name else "")


def ensemble_rows(seeds: Sequence[Seed]) -> list[Row]:
    """The ensemble and its weights as searched against their baselines, in sample and cross-validated."""
    rows = []
    compared = [(ENSEMBLE, name) for name in CONTENDERS] + [(SEARCHED, name) for name in CONTENDERS if name != SEARCHED]
    for where, is_validated in (("in sample", False), ("cross-validated", True)):
        for one, other in compared:
            ours, theirs = ([seed.contender(name, is_validated) for seed in seeds] for name in (one, other))
            published = _gain(paper.ENSEMBLE) if (one, other) == (ENSEMBLE, "best member") and not is_validated else ""
            rows.append(Row(f"{where}: {one}, over {other}", ours, theirs, published))
    return rows


def standing(seeds: Sequence[Seed]) -> list[list[str]]:
    """MAP of each member and of the ensemble: the mean over the seeds, its standard deviation and interval."""
    maps = {member: maps_of(seeds, member, OWN) for member in seeds[0].members}
    for name in ("best member", "equal weights", SEARCHED, ENSEMBLE):
        for where, is_validated in (("in sample", False), ("cross-validated", True)):
            maps[f"{name}, {where}"] = [seed.contender(name, is_validated) for seed in seeds]
    rows = []
    for name, seed_maps in maps.items():
        mean, spread = mean_over(seed_maps), statistics.stdev(one.map for one in seed_maps)
        low, high = mean.interval
        rows.append([name, f"{mean.map:.4f}", f"{spread:.4f}", f"{low:.4f} to {high:.4f}"])
    return rows


def left_out_rows(seeds: Sequence[Seed]) -> list[Row]:
    """The ensemble against itself without each of its members."""
    ours = [seed.contender(ENSEMBLE, False) for seed in seeds]
    return [
        Row(f"with {member}, over without it", ours, [seed.without(member) for seed in seeds])
        for member in seeds[0].members
    ]
