"""MAP@K over judged segments: cut each list at K, drop what nobody judged, average the precision at the positives."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from scoring.lists.ranked import K, Part, Submission
from scoring.lists.threads import in_threads
from videos.judgments import last_of_pairs, rows_by_class

Mode = Literal["strict", "google"]


@dataclass(frozen=True)
class Evaluation:
    """MAP@K of a submission.

    `map` averages over `classes` classes. `positives` and `judged` count what the judgments hold, `retrieved` the
    judged pairs that the submission lists within K. `per_class` has class_id u16, ap f64, positives u32: the classes
    averaged over, ascending.
    """

    map: float
    classes: int
    positives: int
    judged: int
    retrieved: int
    per_class: pl.DataFrame


def mean_average_precision(
    submission: Submission, judgments: pl.DataFrame, k: int = K, mode: Mode = "strict"
) -> Evaluation:
    """MAP@K of a submission.

    A class without positives does not count. A class with positives that the submission lacks counts 0 (`strict`), or
    does not count (`google`); one that is there with an empty list counts 0 in both.
    """
    judged = last_of_pairs(judgments)
    return _evaluate(*_ranks(judged, [submission], k, map), judged, mode)


def evaluate_blocks(
    blocks: Iterable[Part | Submission], judgments: pl.DataFrame, k: int = K, mode: Mode = "strict"
) -> Evaluation:
    """The same for a submission that comes in blocks of classes."""
    judged = last_of_pairs(judgments)
    return _evaluate(*_ranks(judged, blocks, k), judged, mode)


def ranks_of_blocks(
    blocks: Iterable[Part | Submission], judgments: pl.DataFrame, cut: int | None = K
) -> tuple[pl.DataFrame, pl.Series]:
    """`judged_ranks` of a submission that comes in blocks, and the classes that it has."""
    return _ranks(last_of_pairs(judgments), blocks, cut)


def _ranks(
    judged: pl.DataFrame, blocks: Iterable[Part | Submission], cutoff: int | None, each: Callable = in_threads
) -> tuple[pl.DataFrame, pl.Series]:
    """`ranks_of_blocks` of judged pairs that are unique and sorted; `each` maps over the blocks."""
    places, ids = rows_by_class(judged), judged["segment_id"]

    def find(block: Part | Submission) -> tuple[list[int], dict[int, np.ndarray]]:
        return block.classes, block.find({c: ids[places[c]] for c in block.classes if c in places})

    ranks, present = np.zeros(len(judged), dtype=np.uint32), []
    for classes, block_ranks in each(find, blocks):
        present += classes
        for class_id, class_ranks in block_ranks.items():
            ranks[places[class_id]] = class_ranks
    within = (ranks > 0) if cutoff is None else (ranks > 0) & (ranks <= cutoff)
    rows = np.flatnonzero(within)
    listed = judged[rows].with_columns(rank=pl.Series(ranks[rows])).sort("class_id", "rank", maintain_order=True)
    return listed, pl.Series("class_id", present, dtype=judged["class_id"].dtype)


def judged_ranks(submission: Submission, judgments: pl.DataFrame, cut: int | None = K) -> pl.DataFrame:
    """The judged pairs that a submission lists among the first `cut` of a class (None: anywhere), by class and rank.

    Columns class_id, segment_id, relevance, and rank u32: from 1, in the whole list.
    """
    return ranks_of_blocks([submission], judgments, cut)[0]


def evaluate_ranks(
    ranks: pl.DataFrame, judgments: pl.DataFrame, present: pl.Series, mode: Mode = "strict"
) -> Evaluation:
    """MAP from the table of `judged_ranks`; `present` are the classes that the submission has."""
    return _evaluate(ranks, present, last_of_pairs(judgments), mode)


def _evaluate(ranks: pl.DataFrame, present: pl.Series, judged: pl.DataFrame, mode: Mode) -> Evaluation:
    positives = judged.filter(pl.col("relevance") > 0).group_by("class_id").len("positives").sort("class_id")
    classes = positives["class_id"]
    if not len(classes):
        raise ValueError("the judgments hold no positive (relevance above 0), so there is no MAP; check the file")
    counted = ranks.filter(pl.col("class_id").is_in(classes.implode())).sort("class_id", "rank")
    rows = classes.search_sorted(counted["class_id"]).to_numpy()
    relevant = (counted["relevance"] > 0).to_numpy()
    sums = precision_sums(rows, relevant, np.ones(len(rows), dtype=bool), len(classes))
    per_class = positives.select("class_id", ap=sums / positives["positives"].to_numpy(), positives="positives")
    if mode == "google":
        per_class = per_class.filter(pl.col("class_id").is_in(present.implode()))
    if not per_class.height:
        raise ValueError("the submission has none of the classes with positives; check that both are of the same data")
    return Evaluation(
        map=float(np.mean(per_class["ap"].to_numpy())),
        classes=per_class.height,
        positives=int((judged["relevance"] > 0).sum()),
        judged=judged.height,
        retrieved=ranks.height,
        per_class=per_class,
    )


def precision_sums(rows: np.ndarray, positive: np.ndarray, listed: np.ndarray, classes: int) -> np.ndarray:
    """The sum of the precisions at the positives of each class: AP times its number of positives (f64, per class).

    Args:
        rows: class of each judged pair, as an index from 0, ascending; within a class the pairs stand best first.
        positive: whether the pair is relevant.
        listed: whether the list holds it within K; the pairs that it does not hold stand last in their class.
    """
    sizes = np.bincount(rows, minlength=classes)
    starts = np.cumsum(sizes) - sizes
    hits = np.cumsum(positive)
    hits_before = np.concatenate([[0], hits])[starts]
    position = np.arange(1, len(rows) + 1) - starts[rows]
    precision = np.where(positive & listed, (hits - hits_before[rows]) / position, 0.0)
    # `bincount` adds in the order of the rows, so that the same pairs give the same bits wherever zeros stand between.
    return np.bincount(rows, weights=precision, minlength=classes)
