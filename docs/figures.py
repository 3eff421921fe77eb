"""Draws a figure of each family of members into docs/figures: `python docs/figures.py`."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

FOLDER = Path(__file__).parent / "figures"

# What a box is, and so its colour (of a palette that colour-blind readers can tell apart).
DATA, LAYER, POOL, GATE, HEAD = "#e8e8e8", "#cfe3f5", "#fde2b8", "#e5d5ef", "#cfe8d0"
LEGEND = {"frames": DATA, "layers": LAYER, "pooling": POOL, "gates": GATE, "classes": HEAD}
INK = "#222222"


@dataclass(frozen=True)
class Box:
    x: float  # of the middle
    y: float
    title: str
    note: str = ""
    colour: str = LAYER
    width: float = 1.9
    height: float = 0.8


@dataclass
class Drawing:
    """Boxes on a plane and the arrows between them; one unit is about an inch."""

    width: float
    height: float
    boxes: list[Box] = field(default_factory=list)
    arrows: list[tuple[Box, Box, str, bool]] = field(default_factory=list)
    frames: list[tuple[float, float, int, range]] = field(default_factory=list)

    def box(self, x: float, y: float, title: str, note: str = "", colour: str = LAYER, **size: float) -> Box:
        self.boxes.append(Box(x, y, title, note, colour, **size))
        return self.boxes[-1]

    def arrow(self, start: Box, end: Box, text: str = "", dashed: bool = False) -> None:
        self.arrows.append((start, end, text, dashed))

    def chain(self, *boxes: Box) -> None:
        for start, end in pairwise(boxes):
            self.arrow(start, end)

    def strip(self, x: float, y: float, count: int, marked: range) -> None:
        """`count` frames side by side, the middle of the strip at (x, y); those `marked` are the segment."""
        self.frames.append((x, y, count, marked))

    def write(self, path: Path) -> None:
        import matplotlib

        matplotlib.use("svg")
        from matplotlib import pyplot as plt
        from matplotlib.patches import FancyBboxPatch, Rectangle

        with plt.rc_context({"svg.hashsalt": "members", "font.family": "DejaVu Sans", "font.size": 8}):
            figure = plt.figure(figsize=(self.width, self.height + 0.3))
            axes = figure.add_axes((0, 0, 1, 1))
            axes.set(xlim=(0, self.width), ylim=(-0.3, self.height))
            axes.axis("off")
            for box in self.boxes:
                corner = (box.x - box.width / 2, box.y - box.height / 2)
                axes.add_patch(
                    FancyBboxPatch(
                        corner, box.width, box.height, "round,pad=0,rounding_size=0.08", fc=box.colour, ec=INK, lw=0.7
                    )
                )
                shift = 0.13 if box.note else 0
                axes.text(box.x, box.y + shift, box.title, ha="center", va="center", weight="bold", color=INK)
                axes.text(box.x, box.y - 0.17, box.note, ha="center", va="center", size=7, color=INK)
            for start, end, text, dashed in self.arrows:
                tail, head = _sides(start, end)
                style = {"arrowstyle": "-|>", "lw": 0.8, "color": INK, "shrinkA": 0, "shrinkB": 0}
                axes.annotate("", head, tail, arrowprops={**style, "ls": "--" if dashed else "-"})
                middle = ((tail[0] + head[0]) / 2, (tail[1] + head[1]) / 2)
                level = tail[1] == head[1]  # text stands on a level arrow, and beside any other
                place = (middle[0], middle[1] + 0.06) if level else (middle[0] + 0.08, middle[1])
                axes.text(*place, text, size=7, ha="center" if level else "left", va="bottom", color=INK)
            for x, y, count, marked in self.frames:
                size = 0.15
                for i in range(count):
                    place = (x + (i - count / 2) * size, y - size)
                    colour = "#5b8fc7" if i in marked else DATA
                    axes.add_patch(Rectangle(place, size * 0.8, 2 * size, fc=colour, ec=INK, lw=0.5))
            for i, (name, colour) in enumerate(LEGEND.items()):
                axes.add_patch(Rectangle((0.15 + i * 1.1, -0.22), 0.18, 0.14, fc=colour, ec=INK, lw=0.5))
                axes.text(0.4 + i * 1.1, -0.15, name, size=7, va="center", color=INK)
            figure.savefig(path, format="svg", facecolor="white", metadata={"Date": None})
            plt.close(figure)


def _sides(start: Box, end: Box) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where an arrow leaves one box and meets the other: at the sides, or above and below where they overlap."""
    if abs(start.x - end.x) >= (start.width + end.width) / 2:
        way = 1 if end.x > start.x else -1
        return (start.x + way * start.width / 2, start.y), (end.x - way * end.width / 2, end.y)
    way = 1 if end.y > start.y else -1
    return (start.x, start.y + way * start.height / 2), (end.x, end.y - way * end.height / 2)


def bert() -> Drawing:
    d = Drawing(10.4, 3.6)
    d.strip(1.1, 2.55, 5, range(5))
    frames = d.box(1.1, 1.8, "5 frames", "1152 = 1024 + 128 each", DATA)
    blocks = d.box(3.6, 1.8, "Transformer", "2 or 3 blocks of 12 heads", height=1.1)
    pools = [
        d.box(6.1, 3.0, "all side by side", "5760 · concat", POOL, height=0.6),
        d.box(6.1, 2.2, "the last frame", "1152 · the paper's “first”", POOL, height=0.6),
        d.box(6.1, 1.4, "their mean", "1152 · mean", POOL, height=0.6),
        d.box(6.1, 0.6, "attention", "1152 · attention", POOL, height=0.6),
    ]
    head = d.box(8.9, 1.8, "Mixture of experts", "5 experts and a dummy a class", HEAD, width=2.3)
    probabilities = d.box(8.9, 0.5, "Probabilities", "3862 classes", HEAD)
    d.arrow(frames, blocks, "L2 norm")
    for pool in pools:
        d.chain(blocks, pool, head)
    d.chain(head, probabilities)
    return d


def bert_cross() -> Drawing:
    d = Drawing(10.4, 3.2)
    d.strip(1.0, 2.35, 5, range(5))
    frames = d.box(1.0, 1.6, "5 frames", "1152 each", DATA, width=1.5)
    rgb = d.box(3.3, 2.4, "rgb block", "1024, 8 heads")
    audio = d.box(3.3, 0.8, "audio block", "128, 8 heads")
    joint = d.box(5.9, 1.6, "Joint block", "joined by feature: 1152")
    mean = d.box(7.9, 2.4, "their mean", "", POOL, width=1.4, height=0.6)
    attention = d.box(7.9, 0.8, "attention", "", POOL, width=1.4, height=0.6)
    head = d.box(9.5, 1.6, "Experts", "3862 classes", HEAD, width=1.4)
    for modality in (rgb, audio):
        d.chain(frames, modality, joint)
    for pool in (mean, attention):
        d.chain(joint, pool, head)
    return d


def gated_netvlad() -> Drawing:
    d = Drawing(10.4, 3.4)
    d.strip(0.95, 2.75, 5, range(5))
    frames = d.box(0.95, 2.0, "5 frames", "drawn at random", DATA, width=1.5)
    rgb = d.box(3.0, 2.75, "NetVLAD of rgb", "8 clusters x 1024", POOL, width=1.7)
    audio = d.box(3.0, 1.25, "NetVLAD of audio", "4 clusters x 128", POOL, width=1.7)
    hidden = d.box(5.2, 2.0, "Two layers", "8704, 1024, 2048", width=1.5)
    context = d.box(7.2, 2.0, "Context gating", "2048 gates on 2048", GATE, width=1.7)
    head = d.box(9.4, 2.0, "Experts", "3862 classes", HEAD, width=1.5)
    gate = d.box(7.2, 0.55, "Class gating", "3862 gates on 3862", GATE, width=1.7)
    final = d.box(9.4, 0.55, "Probabilities", "3862 classes", HEAD, width=1.5)
    for modality in (rgb, audio):
        d.chain(frames, modality, hidden)
    d.chain(hidden, context, head)
    d.arrow(head, gate)
    d.arrow(head, final, "times")
    d.arrow(gate, final)
    return d


def mix_nextvlad() -> Drawing:
    d = Drawing(10.4, 4.9)
    d.strip(1.1, 4.1, 5, range(5))
    frames = d.box(1.1, 3.35, "60 or 300 draws", "of the frames", DATA, width=1.6)
    for depth in (0.12, 0.06, 0):  # three branches behind each other
        branch = d.box(5.15 + depth, 3.35 + depth, "", "", "#ffffff", width=5.9, height=2.4)
    rgb = d.box(3.3, 3.95, "NeXtVLAD of rgb", "8 groups, 112 clusters", POOL, width=1.8)
    audio = d.box(3.3, 2.95, "NeXtVLAD of audio", "4 groups, 56 clusters", POOL, width=1.8)
    hidden = d.box(5.25, 3.45, "One layer", "32256 to 2048", width=1.4)
    gates = d.box(7.15, 3.45, "Excitation", "2048, 128, 2048", GATE, width=1.5)
    d.box(5.15, 2.34, "one of three branches, each with its own weights", "", "#ffffff", width=4.4, height=0.26)
    logits = d.box(9.4, 3.35, "Branches' logits", "3 x 3862", HEAD, width=1.6)
    gate = d.box(1.1, 0.8, "Mixing gate", "softmax of mean frame", GATE, width=1.7)
    mixture = d.box(9.4, 0.8, "Mixture's logits", "3862, then sigmoid", HEAD, width=1.6)
    d.chain(frames, branch, logits)
    for modality in (rgb, audio):
        d.arrow(modality, hidden)
    d.chain(hidden, gates)
    d.arrow(frames, gate)
    d.arrow(gate, mixture, "three shares")
    d.arrow(logits, mixture, "weighted sum")
    student, teacher = (Box(box.x - 0.6, box.y, "", width=0.1) for box in (logits, mixture))
    d.arrow(teacher, student, "KL", dashed=True)
    return d


def context_aware() -> Drawing:
    d = Drawing(10.4, 3.6)
    d.strip(1.15, 3.2, 11, range(3, 8))
    near = d.box(1.15, 2.5, "Segment, 3 around", "11 frames", DATA, width=1.8)
    d.strip(1.15, 0.35, 14, range(0))
    video = d.box(1.15, 1.05, "Its video", "50 frames from all over", DATA, width=1.8)
    tokens = d.box(3.45, 2.5, "Projection, places", "512 each", width=1.8)
    encoding = d.box(3.45, 1.05, "Projection, attention", "one encoding of 512", POOL, width=1.8)
    blocks = d.box(5.75, 1.8, "Transformer", "2 blocks on 12 tokens", width=1.7)
    pool = d.box(7.85, 1.8, "Segment and video", "mean of 5, and the 12th", POOL, width=1.8)
    head = d.box(9.65, 1.8, "Experts", "3862 classes", HEAD, width=1.2)
    d.chain(near, tokens, blocks)
    d.chain(video, encoding, blocks)
    d.chain(blocks, pool, head)
    return d


def frame_mean() -> Drawing:
    d = Drawing(10.4, 1.9)
    d.strip(1.0, 1.7, 5, range(5))
    frames = d.box(1.0, 0.9, "5 frames", "1152 each", DATA, width=1.5)
    mean = d.box(3.1, 0.9, "their mean", "1152", POOL, width=1.4)
    hidden = d.box(5.6, 0.9, "Two layers, swish", "2765, 1662", width=2.0)
    head = d.box(8.6, 0.9, "Logistic regression", "3862 classes", HEAD, width=2.2)
    d.arrow(frames, mean, "L2 norm")
    d.chain(mean, hidden, head)
    return d


def frame_wise() -> Drawing:
    d = Drawing(10.4, 2.2)
    d.strip(1.15, 1.9, 13, range(5, 8))
    frames = d.box(1.15, 1.1, "Segment, 10 around", "25 frames", DATA, width=1.9)
    tokens = d.box(3.4, 1.1, "Projection, places", "768 each", width=1.7)
    blocks = d.box(5.3, 1.1, "Transformer", "2 blocks", width=1.4)
    head = d.box(7.2, 1.1, "Logistic regression", "3862 classes a frame", HEAD, width=1.9)
    pool = d.box(9.3, 1.1, "Linear softmax", "of the segment's 5", POOL, width=1.7)
    d.chain(frames, tokens, blocks, head, pool)
    return d


def boosted() -> Drawing:
    d = Drawing(10.4, 3.2)
    scores = d.box(1.6, 2.6, "Neural scores of the pair", "and of neighbours, out of fold", DATA, width=2.6)
    likeness = d.box(1.6, 1.6, "Likeness to rated segments", "cosines, its video left out", DATA, width=2.6)
    place = d.box(1.6, 0.6, "Class, place in the video", "", DATA, width=2.6)
    trees = d.box(5.0, 1.6, "Boosted trees", "one row a (segment, class)", width=2.4)
    ranking = d.box(8.4, 1.6, "Candidates of each video", "the rest behind, in neural order", HEAD, width=2.7)
    for evidence in (scores, likeness, place):
        d.arrow(evidence, trees)
    d.arrow(trees, ranking)
    return d


FAMILIES: dict[str, Callable[[], Drawing]] = {
    "gated_netvlad": gated_netvlad,
    "bert": bert,
    "bert_cross": bert_cross,
    "mix_nextvlad": mix_nextvlad,
    "context_aware": context_aware,
    "frame_mean": frame_mean,
    "frame_wise": frame_wise,
    "boosted": boosted,
}


def draw(folder: Path) -> None:
    """Write `<family>.svg` into `folder` for each family."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, family in FAMILIES.items():
        family().write(folder / f"{name}.svg")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the figures go")
    draw(parser.parse_args().folder)
