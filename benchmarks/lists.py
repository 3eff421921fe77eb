"""Generated submissions of competition size: correlated members, 100,000 of 2.06 million segments per class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from scoring.lists.ranked import BLOCK, RankedLists, Submission, class_series, from_codes
from scoring.lists.ranking import rank_within_class
from scoring.lists.writing import write_submission
from videos.judgments import JUDGMENTS
from videos.segments import segment_ids

CLASSES, SEGMENTS, LENGTH = 1_000, 2_060_000, 100_000
PAIRS = 18_500  # judged pairs of all classes, as in the paper's holdout
FAMILIES = {  # members of a family have correlated errors
    "bert-l2h12-mean": "bert",
    "bert-l2h12-last": "bert",
    "bert-l2h12-concat": "bert",
    "bert-l3h12-mean": "bert",
    "bert-cross-mean": "cross",
    "bert-cross-attention": "cross",
    "mixnextvlad-60": "vlad",
    "mixnextvlad-300": "vlad",
    "netvlad-c8-h1024": "vlad",
}


@dataclass(frozen=True)
class World:
    """The size and the seed of generated segments, members and judgments.

    Members rank a pool of about 2.6 times `length` segments per class. A member's score of a segment is the segment's
    worth, plus an error of the member's family, plus an error of its own.
    """

    classes: int
    segments_count: int = SEGMENTS
    length: int = LENGTH
    members: int = len(FAMILIES)
    seed: int = 0

    @property
    def names(self) -> list[str]:
        known = list(FAMILIES)
        return [
            known[i] if i < len(known) else f"{known[i % len(known)]}-{i // len(known)}" for i in range(self.members)
        ]

    @cached_property
    def segments(self) -> pl.Series:
        """Ids like YouTube-8M's: four characters, `:`, and the second at which the segment starts."""
        rng = np.random.default_rng(self.seed)
        letters = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", dtype=np.uint8)
        videos = letters[rng.integers(len(letters), size=(self.segments_count // 40 + 100, 4))].view("S4").ravel()
        names = pl.Series("video", np.unique(videos)).cast(pl.String).to_frame()
        starts = pl.DataFrame({"start": np.arange(0, 5 * 46, 5)})
        ids = names.join(starts, how="cross").select(segment_ids("video", "start").alias("segment_id")).to_series()
        return ids.sample(min(self.segments_count, len(ids)), seed=self.seed).sort()

    def ranked(self, class_id: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """The list of each member (codes, best first), and the pool's codes and their worth, by falling worth."""
        rng = np.random.default_rng([self.seed, class_id])
        codes = np.unique(rng.integers(len(self.segments), size=int(2.6 * self.length))).astype(np.uint32)
        worth = rng.standard_normal(len(codes), dtype=np.float32)
        errors = {
            family: rng.standard_normal(len(codes), dtype=np.float32) for family in sorted(set(FAMILIES.values()))
        }
        lists = {}
        for name in self.names:
            family = next(FAMILIES[known] for known in FAMILIES if name.startswith(known))
            scores = worth + 0.6 * errors[family] + 0.5 * rng.standard_normal(len(codes), dtype=np.float32)
            lists[name] = codes[rank_within_class(scores, self.length)]
        order = np.argsort(-worth)
        return lists, codes[order], worth[order]

    def generate(self) -> tuple[dict[str, Submission], pl.DataFrame]:
        """The submission of each member, and the judgments."""
        lists: dict[str, dict[int, np.ndarray]] = {name: {} for name in self.names}
        judged = []
        for class_id in range(self.classes):
            ranked, codes, worth = self.ranked(class_id)
            for name in self.names:
                lists[name][class_id] = ranked[name]
            judged.append(self.judged(class_id, codes, worth))
        return {name: from_codes(codes, self.segments) for name, codes in lists.items()}, pl.concat(judged)

    def write(self, folder: Path) -> pl.DataFrame:
        """Write each member as a coded folder and as a Kaggle CSV; returns the judgments."""
        submissions, judgments = self.generate()
        for name, submission in submissions.items():
            for path in (folder / name, folder / f"{name}.csv"):
                write_submission(submission, path)
        return judgments

    def judged(self, class_id: int, codes: np.ndarray, worth: np.ndarray, tile: int = 0) -> pl.DataFrame:
        """The judged pairs of a class: 98 % from high ranks, which raters are asked about most, the rest from any."""
        rng = np.random.default_rng([self.seed, class_id, tile, 1])
        count = PAIRS // CLASSES + (class_id + tile) % 2  # 18.5 on average
        high = np.exp(rng.uniform(0, np.log(0.1 * len(codes)), size=4 * count)).astype(int) - 1
        anywhere = rng.integers(len(codes), size=4 * count)
        chosen = np.unique(np.where(rng.random(4 * count) < 0.98, high, anywhere))
        chosen = rng.permutation(chosen)[:count]
        level = worth[len(codes) // 600 + 2]
        positive = worth[chosen] + 0.5 * rng.standard_normal(len(chosen)) > level
        return pl.DataFrame(
            {
                "class_id": np.full(len(chosen), class_id),
                "segment_id": self.segments.gather(codes[chosen]),
                "relevance": positive.astype(np.int16),
            },
            schema_overrides=JUDGMENTS,
        ).select(JUDGMENTS.names())


@dataclass(frozen=True)
class Tiled:
    """Ranked lists with each class `times` times, so that a fraction of the classes is as large as all of them."""

    source: RankedLists
    times: int
    block = BLOCK

    @property
    def classes(self) -> list[int]:
        classes = self.source.classes
        return [tile * len(classes) + row for tile in range(self.times) for row in range(len(classes))]

    @property
    def segments(self) -> pl.Series:
        return self.source.segments

    def read(self, class_ids: Sequence[int]) -> Submission:
        classes = self.source.classes
        block = self.source.read(sorted({classes[class_id % len(classes)] for class_id in class_ids}))
        rows = [block.classes.index(classes[class_id % len(classes)]) for class_id in class_ids]
        lists = block.lists if rows == list(range(len(block.lists))) else block.lists[rows]
        return Submission(lists.with_columns(class_series(class_ids)), self.segments)

    def find(self, wanted: Mapping[int, pl.Series]) -> dict[int, np.ndarray]:
        return self.read(list(wanted)).find(wanted)


def tiled_judgments(world: World, times: int) -> pl.DataFrame:
    """Judged pairs of tiled classes, different in every tile."""
    judged = []
    for class_id in range(world.classes):
        _, codes, worth = world.ranked(class_id)
        for tile in range(times):
            pairs = world.judged(class_id, codes, worth, tile)
            judged.append(pairs.with_columns(class_id=pl.lit(tile * world.classes + class_id, dtype=pl.UInt16)))
    return pl.concat(judged).sort("class_id", "segment_id")


def tiled(sources: Mapping[str, RankedLists], times: int) -> dict[str, RankedLists]:
    return {name: Tiled(source, times) for name, source in sources.items()}
