"""`python -m benchmarks.claims --data data/audioset --seeds 3`: the paper's claims on AudioSet/DESED.

Trains what is lacking: per seed the line-up `audioset`, with its ensemble, and the variants of `audioset-claims`; and
for one member the sweep of settings. Then reads their runs and writes docs/results.md and its figures. A comparison is
one entry of `VARIANTS`, or a function below for what needs no training: windows of shifts, the ensemble and its
weights. What is finished is not repeated.
"""

import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from benchmarks.claims_runs import CLIP, CONTENDERS, OWN, WINDOWS, Seed, open_seed
from benchmarks.scoring import commit
from scoring import paper
from scoring.measures.bootstrap import RESAMPLES, ResampledMap, mean_over
from training import sweep
from training.job import Job
from training.members import line_up, member_of, seed_name
from videos.store import open_frames

LINEUP, VARIANT_LINEUP = "audioset", "audioset-claims"
TARGET = Path("docs/results.md")
BERT = "bert-l2h8-mean"
FOLDS = 3  # of the sweep, its default
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


SECTIONS = {
    "C1": (
        "Fine-tuning and pre-training",
        "Fine-tuning beats pre-training alone, and pre-training with fine-tuning beats fine-tuning from scratch.",
        "The paper's models have 74 to 269 million parameters and see two modalities in five-second segments, and it "
        "has no row for training from scratch; the checkpoints compared here were chosen on the holdout.",
    ),
    "C3": (
        "Shifts",
        "Merging the rankings of shifted windows beats the window of the segment alone.",
        "A shift here is 0.96 s, half a segment, where the paper's is a second, a fifth of one; beyond a clip's ends "
        "the first or last frame is repeated, and clips have 10 frames.",
    ),
    "averaged": (
        "Averaging shifts, or merging them by rank",
        "Averaging the probabilities under the shifts (the paper's text) beats merging by rank (its code).",
        "The paper's figures were made by its code and it compares the two nowhere.",
    ),
    "context": (
        "How much of it is context",
        "Shifts do more than a model that sees the wider window at once, or than the mean score of the clip.",
        "The paper does not separate the two; the wide member starts from weights that were pre-trained on windows of "
        "two frames.",
    ),
    "C4": (
        "The ensemble",
        "The ensemble beats its best member, and weights that were searched beat equal ones.",
        "The paper chose its weights by hand after a search and does not say what equal ones score; here the ensemble "
        "has fewer members, of one modality, and the rows without cross-validation are of the videos on which the "
        "weights were chosen.",
    ),
    "members": (
        "Which members matter",
        "The ensemble is better with each of its members than without it, the others' weights kept.",
        "The paper gives the weights of its members, not what each adds; these rows are in sample.",
    ),
    "C6": (
        "Pooling",
        "The mean of the frames is the best pooling.",
        "The paper's BERTMean and BERTFirst were merged over more shifts than its BERT; here all have the same shifts, "
        "and two frames to pool instead of five.",
    ),
    "C8": (
        "Depth",
        "A third transformer block helps.",
        "The paper compares two models with concatenated frames, once.",
    ),
    "masks": (
        "Which pairs the loss of fine-tuning counts",
        "Counting judged pairs alone beats taking unjudged classes as negatives.",
        "The paper's code takes unjudged classes as negatives and its text does not say; a clip here is judged for "
        "all classes of its source, a segment there mostly for one.",
    ),
    "options": (
        "Future directions of the paper, and ideas of other teams",
        "Each option raises the member that has it.",
        "The paper names its three directions without a figure.",
    ),
}


def _gain(pair: tuple[float, float]) -> str:
    return f"{pair[1] - pair[0]:+.4f} ({pair[0]:.4f} to {pair[1]:.4f})"


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
        "clips of rare classes repeated in pre-training, over each clip once an epoch",
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
        difference = f"{statistics.mean(self.differences):+.4f}"
        return [self.words, *maps, difference, spread, f"{low:+.4f} to {high:+.4f}", self.verdict, self.paper or "-"]


@dataclass(frozen=True)
class Results:
    """The rows of each section, and what the page says of their origin."""

    rows: Mapping[str, Sequence[Row]]
    standing: Sequence[Sequence[str]]  # of members and ensemble: name, MAP, its standard deviation, its interval
    seeds: int
    clips: int
    classes: int
    judged: int
    commit: str
    command: str
    selections: Sequence[str] = field(default_factory=tuple)  # greedy selection, one sentence per seed
    settings: Sequence[Sequence[str]] = field(default_factory=tuple)  # rows of `training.sweep.COLUMNS`


def run(
    data: Annotated[Path, arg(metavar="DIR")] = Path("data/audioset"),
    seeds: Annotated[int, arg(metavar="N")] = 3,
    out: Annotated[Path, arg(metavar="FILE")] = TARGET,
) -> None:
    """Train what is lacking for seeds 0 .. N-1, and write the page and, next to it, figures/claims-*.png.

    Args:
        data: Folder of the frame store of `python -m training ingest audioset`.
        seeds: Number of seeds, at least 2.
        out: The page to write.
    """
    if seeds < 2:
        raise SystemExit(f"--seeds is {seeds}; a spread over seeds needs at least 2")
    measured = commit()
    for seed in range(seeds):
        for verb, lineup in (("run", LINEUP), ("train", VARIANT_LINEUP)):
            command = [sys.executable, "-m", "training", verb, "--lineup", seed_name(lineup, seed), "--data", str(data)]
            subprocess.run(command, check=True)
    store = open_frames(data)
    opened = [open_seed(store, LINEUP, VARIANT_LINEUP, seed) for seed in range(seeds)]
    results = read(opened, measured, f"python -m benchmarks.claims --data {data} --seeds {seeds}")
    job = Job(lineup=LINEUP, member=member_of(LINEUP, BERT), store=store)
    results = replace(results, settings=[sweep.cells(*setting) for setting in sweep.sweep(job, FOLDS)])
    figures(opened, out.parent / "figures")
    out.write_text("\n".join(page(results)))
    print(f"written to {out}", *page(results)[2:5], sep="\n")


def read(seeds: Sequence[Seed], measured: str, command: str) -> Results:
    """Compare everything that the page has."""
    rows: dict[str, list[Row]] = {claim: [] for claim in SECTIONS}
    for variant in VARIANTS:
        rows[variant.claim].append(_trained(variant, seeds))
    rows["C3"] = shift_rows(seeds)
    plain, merged = _maps(seeds, BERT, 0), _maps(seeds, BERT, "[-2,2]")
    wide, clip = _maps(seeds, f"{BERT}-wide", 0), _maps(seeds, BERT, CLIP)
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
        rows={claim: kept for claim, kept in rows.items() if kept},
        standing=standing(seeds),
        seeds=len(seeds),
        clips=judgments.unit_count,
        classes=len(judgments.classes),
        judged=judgments.pairs.height,
        commit=measured,
        command=command,
        selections=[f"Seed {number}: {one.greedy}." for number, one in enumerate(seeds)],
    )


def _maps(seeds: Sequence[Seed], member: str, lists: int | str) -> list[ResampledMap]:
    return [seed.member(member, lists) for seed in seeds]


def _trained(variant: Variant, seeds: Sequence[Seed]) -> Row:
    lists = OWN if variant.lists == "merged" else 0
    ours, theirs = (_maps(seeds, member, lists) for member in (variant.member, variant.against))
    return Row(f"{variant.member} ({variant.words})", ours, theirs, variant.paper)


def shift_rows(seeds: Sequence[Seed]) -> list[Row]:
    """Per member and window: the shifts merged by rank, over none."""
    rows = []
    for member in seeds[0].shifted:
        rows += [_window_row(seeds, member, window) for window in WINDOWS]
    return rows


def averaged_rows(seeds: Sequence[Seed]) -> list[Row]:
    """Per member and window: the mean probability over the shifts, over their ranks merged."""
    rows = []
    for member in seeds[0].shifted:
        for window in ("[-1,1]", "[-2,2]"):
            averaged = [seed.member(member, window, "score") for seed in seeds]
            words = f"{member} {window}, averaged, over by rank"
            rows.append(Row(words, averaged, _maps(seeds, member, window)))
    return rows


def _window_row(seeds: Sequence[Seed], member: str, window: str) -> Row:
    published = {("mix-nextvlad-60", "[-1,1]"): "MixNeXtVLAD", ("bert-l2h8-concat", "[-1,1]"): "BERT(L2h12)"}
    name = published.get((member, window))
    ours, theirs = _maps(seeds, member, window), _maps(seeds, member, 0)
    return Row(f"{member} {window}, by rank, over no shift", ours, theirs, _gain(paper.SHIFTS[name]) if name else "")


def ensemble_rows(seeds: Sequence[Seed]) -> list[Row]:
    """The ensemble against its baselines, in sample and cross-validated."""
    rows = []
    for name, is_validated in ((name, validated) for validated in (False, True) for name in CONTENDERS):
        ours = [seed.contender("searched", is_validated) for seed in seeds]
        where = "cross-validated" if is_validated else "in sample"
        published = _gain(paper.ENSEMBLE) if name == "best member" and not is_validated else ""
        rows.append(
            Row(
                f"{where}: searched weights, over {name}",
                ours,
                [s.contender(name, is_validated) for s in seeds],
                published,
            )
        )
    named = {member.name for member in line_up(LINEUP) if member.paper_name}
    best = [
        max((seed.member(name, OWN) for name in seed.members if name in named), key=lambda one: one.map)
        for seed in seeds
    ]
    words = "in sample: searched weights, over the best of the paper's members"
    return [*rows, Row(words, [seed.contender("searched", False) for seed in seeds], best)]


def standing(seeds: Sequence[Seed]) -> list[list[str]]:
    """MAP of each member and of the ensemble: the mean over the seeds, its standard deviation and interval."""
    maps = {member: _maps(seeds, member, OWN) for member in seeds[0].members}
    for name in ("best member", "equal weights", "searched"):
        words = "ensemble" if name == "searched" else name
        for where, is_validated in (("in sample", False), ("cross-validated", True)):
            maps[f"{words}, {where}"] = [seed.contender(name, is_validated) for seed in seeds]
    rows = []
    for name, seed_maps in maps.items():
        mean, spread = mean_over(seed_maps), statistics.stdev(one.map for one in seed_maps)
        low, high = mean.interval
        rows.append([name, f"{mean.map:.4f}", f"{spread:.4f}", f"{low:.4f} to {high:.4f}"])
    return rows


def left_out_rows(seeds: Sequence[Seed]) -> list[Row]:
    """The ensemble against itself without each of its members."""
    ours = [seed.contender("searched", False) for seed in seeds]
    return [
        Row(f"with {member}, over without it", ours, [seed.without(member) for seed in seeds])
        for member in seeds[0].members
    ]


def summary(results: Results) -> list[str]:
    """What was found, three lines: how many comparisons hold, which do not, and which cannot be told apart."""
    by_verdict: dict[Verdict, list[str]] = {"holds": [], "does not hold": [], "not told apart": []}
    for claim, rows in results.rows.items():
        for verdict, names in by_verdict.items():
            count = sum(row.verdict == verdict for row in rows)
            if count:
                names.append(f"{SECTIONS[claim][0].lower()} ({count} of {len(rows)})")
    words = {"holds": "Confirmed", "does not hold": "Contradicted", "not told apart": "Not told apart"}
    return [f"{words[verdict]}: {', '.join(names) or 'none'}." for verdict, names in by_verdict.items()]


def page(results: Results) -> list[str]:
    """The lines of docs/results.md."""
    origin = (
        f"AudioSet/DESED, holdout ({results.clips} rated clips, {results.classes} classes, {results.judged:,} judged "
        f"pairs), seeds 0 to {results.seeds - 1}, commit {results.commit}, `{results.command}`."
    )
    lines = [
        "# The paper's claims on AudioSet/DESED",
        "",
        *summary(results),
        "",
        f"Written by `{results.command}` at commit {results.commit}, {date.today()}.",
        "MAP@100K; *difference* is the mean over the seeds and *sd* its standard deviation over them.",
        f"*Interval*: 95 % of the difference averaged over the seeds, over {RESAMPLES:,} bootstrap resamples of the",
        "holdout's clips, the same ones for both sides and all seeds. A claim *holds* if the interval is above 0 and",
        "*does not hold* if it is below; if nothing differed, one comparison in twenty would still be outside 0.",
        f"The paper's figures are private MAP@100K on {paper.DATA}: compare directions, not values.",
        "Its claim C7, of models that join picture and sound late, needs two modalities and cannot be tested here.",
    ]
    lines += ["", "## Members and ensemble", "", origin, ""]
    lines += ["| | MAP | sd | interval |", "|---|--:|--:|--:|"]
    lines += [f"| {' | '.join(row)} |" for row in results.standing]
    for claim, rows in results.rows.items():
        title, words, differs = SECTIONS[claim]
        name = f"{claim}: {title[0].lower()}{title[1:]}" if claim[1:].isdigit() else title
        lines += ["", f"## {name}", "", f"Claim: {words}", "", f"What differs: {differs}", ""]
        lines += [f"{origin}", ""]
        lines += ["| comparison | MAP | against | difference | sd | interval | verdict | the paper |"]
        lines += ["|---|--:|--:|--:|--:|--:|---|---|"]
        lines += [f"| {' | '.join(row.cells())} |" for row in rows]
        if claim == "members":
            lines += ["", "Greedy selection adds members in this order (Caruana et al., 2004).", *results.selections]
        if claim in FIGURES:
            lines += ["", f"![{FIGURES[claim][1]}](figures/{FIGURES[claim][0]})"]
    lines += ["", "## The settings of fine-tuning", "", SETTINGS, ""]
    lines += [f"| {' | '.join(sweep.COLUMNS)} |", "|---|--:|--:|---|--:|"]
    lines += [f"| {' | '.join(row)} |" for row in results.settings]
    return [*lines, ""]


SETTINGS = f"""\
`python -m training sweep {BERT} --lineup {LINEUP}` compares settings on {FOLDS} folds of the rated clips outside the
holdout, which it does not read: MAP without a shift, at the number of steps that is best there, and the best range of
shifts at that step. Pre-training has seen the video-level labels of these clips, so the values compare with each other
alone. Every other member has the same settings."""
FIGURES = {
    "C1": ("claims-share.png", "MAP against the share of rated clips, with and without pre-training"),
    "C3": ("claims-shifts.png", "Gain of each window of shifts over none, per member, with intervals"),
    "C4": ("claims-ensemble.png", "MAP of members and ensemble with their intervals over clips"),
}


def figures(seeds: Sequence[Seed], folder: Path) -> None:
    """Draw the figures of the page into `folder`."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    share = Figure(figsize=(6, 4), layout="constrained")
    axes = share.subplots()
    names = {"pre-trained and fine-tuned": "share", "fine-tuned from scratch": "scratch"}
    for label, kind in names.items():
        points = [(p, f"{BERT}-{kind}{p}" if (kind, p) != ("share", 100) else BERT) for p in (10, 25, 50, 100)]
        means = [mean_over(_maps(seeds, member, 0)).map for _, member in points]
        axes.plot([percent for percent, _ in points], means, marker="o", label=label)
    alone = mean_over(_maps(seeds, f"{BERT}-pretrained", 0)).map
    axes.axhline(alone, color="#999999", linestyle="--", label="pre-trained alone")
    axes.set(xlabel="share of the rated clips, %", ylabel="MAP on the holdout", title=f"{BERT}, {len(seeds)} seeds")
    axes.legend(fontsize=8)
    share.savefig(folder / FIGURES["C1"][0], dpi=120)

    gains = [
        (f"{member} {window}", statistics.mean(row.differences), row.interval)
        for member in seeds[0].shifted
        for window in WINDOWS
        for row in [_window_row(seeds, member, window)]
    ]
    _bars(gains, "gain over no shift", folder / FIGURES["C3"][0])
    members = {member: mean_over(_maps(seeds, member, OWN)) for member in seeds[0].members}
    members["ensemble"] = mean_over([seed.contender("searched", False) for seed in seeds])
    members["equal weights"] = mean_over([seed.contender("equal weights", False) for seed in seeds])
    _bars([(name, one.map, one.interval) for name, one in members.items()], "MAP", folder / FIGURES["C4"][0])


def _bars(points: Sequence[tuple[str, float, tuple[float, float]]], label: str, path: Path) -> None:
    """Named values with their intervals, one above the other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1 + 0.28 * len(points)), layout="constrained")
    axes = figure.subplots()
    places = range(len(points) - 1, -1, -1)
    for place, (_, value, (low, high)) in zip(places, points, strict=True):
        axes.plot([low, high], [place, place], color="#0072B2")
        axes.plot(value, place, "o", color="#0072B2")
    axes.set_yticks(list(places), [name for name, _, _ in points], fontsize=8)
    axes.set_xlabel(label)
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    import tyro

    tyro.cli(run, prog="python -m benchmarks.claims")
