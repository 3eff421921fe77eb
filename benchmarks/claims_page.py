"""docs/results.md and its figures: the comparisons of `benchmarks.claims_rows` in words, tables and pictures."""

import statistics
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from benchmarks.claims_rows import BERT, LINEUP, Results, Verdict, maps_of, window_row
from benchmarks.claims_runs import ENSEMBLE, OWN, SHRINK, WINDOWS, Seed
from scoring import paper
from scoring.measures.bootstrap import RESAMPLES, mean_over
from training import sweep

FOLDS = 3  # of the sweep, its default
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
        "The ensemble beats its best member, and weights that were searched beat simpler ones.",
        "The paper chose its weights by hand after a search and does not say what equal ones score; the ensemble here "
        f"has those of the search, shrunk by {SHRINK} towards equal ones. It has fewer members, of one modality, and "
        "the rows without cross-validation are of the videos on which the "
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
        "Future directions of the paper, and other ideas",
        "Each option raises the member that has it.",
        "The paper names its three directions without a figure.",
    ),
}


def summary(results: Results) -> list[str]:
    """What was found, three lines: how many comparisons hold, which do not, and which cannot be told apart."""
    by_verdict: dict[Verdict, list[str]] = {"holds": [], "does not hold": [], "not told apart": []}
    for claim in SECTIONS:
        rows = results.rows[claim]
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
        f"The members are of commit {' and '.join(results.trained)}.",
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
    for claim, (title, words, differs) in SECTIONS.items():
        rows = results.rows[claim]
        name = f"{claim}: {title[0].lower()}{title[1:]}" if claim[1:].isdigit() else title
        lines += ["", f"## {name}", "", f"Claim: {words}", "", f"What differs: {differs}", ""]
        lines += [f"{origin}", ""]
        lines += ["| comparison | MAP | against | difference | sd | interval | verdict | the paper |"]
        lines += ["|---|--:|--:|--:|--:|--:|---|---|"]
        lines += [f"| {' | '.join(row.cells())} |" for row in rows]
        if claim == "C4":
            lines += ["", "The best warm start of the search, and the best proposal of Ax, in sample:"]
            lines += results.searches
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
alone. Every other member has the same settings. No such search chose the steps of pre-training, its repetition of rare
clips, and that the weights are shrunk: these were compared on the holdout, on one to three seeds. So was the best
checkpoint of each member chosen."""
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
        means = [mean_over(maps_of(seeds, member, 0)).map for _, member in points]
        axes.plot([percent for percent, _ in points], means, marker="o", label=label)
    alone = mean_over(maps_of(seeds, f"{BERT}-pretrained", 0)).map
    axes.axhline(alone, color="#999999", linestyle="--", label="pre-trained alone")
    axes.set(xlabel="share of the rated clips, %", ylabel="MAP on the holdout", title=f"{BERT}, {len(seeds)} seeds")
    axes.legend(fontsize=8)
    share.savefig(folder / FIGURES["C1"][0], dpi=120)

    gains = [
        (f"{member} {window}", statistics.mean(row.differences), row.interval)
        for member in seeds[0].shifted
        for window in WINDOWS
        for row in [window_row(seeds, member, window)]
    ]
    _bars(gains, "gain over no shift", folder / FIGURES["C3"][0])
    members = {member: mean_over(maps_of(seeds, member, OWN)) for member in seeds[0].members}
    members["ensemble"] = mean_over([seed.contender(ENSEMBLE, False) for seed in seeds])
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
