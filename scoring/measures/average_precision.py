"""MAP@K over judged segments: each list is cut off at K, unjudged segments are dropped, precision is averaged."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from scoring.lists.ranked import K, Part, Submission
from scoring.lists.threads import in_threads
from videos.judgments import Judgments, rows_by_class

Mode = Literal["strict", "google"]


@dataclass(frozen=True)
class Evaluation:
    """MAP@K of a submission.

    `map` is the mean over `classes` classes. `positives` and `judged` count the pairs of the judgments, `retrieved` the
    judged pairs that the submission lists within K. `per_class` has class_id, ap f64, positives u32: the classes
    averaged over, ascending.
    """

    map: float
    classes: int
    positives: int
    judged: int
    retrieved: int
    per_class: pl.DataFrame


def mean_average_precision(
    submission: Submission, judgments: pl.DataFrame, *, cutoff: int = K, mode: Mode = "strict"
) -> Evaluation:
    """MAP@K of a submission.

    Classes without positives are ignored. A class with positives that the submission lacks counts 0 (`strict`) or is
    ignored (`google`); one with an empty list counts 0 in both modes. ValueError if no class is left.
    """
    judged = Judgments(judgments)
    return evaluate_ranks(*ranks_of_blocks([submission], judged, cutoff), judged, mode)


def ranks_of_blocks(
    blocks: Iterable[Part | Submission], judgments: Judgments, cutoff: int = K
) -> tuple[pl.DataFrame, pl.Series]:
    """Look the judged pairs up in a submission.

    Args:
        blocks: The submission, in blocks of classes.
        judgments: The pairs to look up.
        cutoff: Length at which each list is cut off.

    Returns:
        The judged pairs within the cutoff, sorted by class and rank: class_id, segment_id, relevance, and rank u32
        (from 1, in the whole list); and the class_id of every class of the submission, also of empty lists.
    """
    pairs = judgments.pairs
    rows, ids = rows_by_class(pairs), pairs["segment_id"]

    def find(block: Part | Submission) -> tuple[list, dict]:
        return block.classes, block.find({c: ids[rows[c]] for c in block.classes if c in rows})

    ranks, present = np.zeros(len(pairs), dtype=np.uint32), []
    # Starting threads takes longer than looking up one block.
    for classes, block_ranks in map(find, blocks) if isinstance(blocks, list) else in_threads(find, blocks):
        present += classes
        for class_id, class_ranks in block_ranks.items():
            ranks[rows[class_id]] = class_ranks
    listed = np.flatnonzero((ranks > 0) & (ranks <= cutoff))
    listed = listed[np.lexsort((ranks[listed], pairs["class_id"].rle_id().to_numpy()[listed]))]
    present = pl.Series("class_id", present, dtype=pairs["class_id"].dtype)
    return pairs[listed].with_columns(rank=pl.Series(ranks[listed])), present


def evaluate_ranks(ranks: pl.DataFrame, present: pl.Series, judgments: Judgments, mode: Mode = "strict") -> Evaluation:
    """MAP from the two results of `ranks_of_blocks`."""
    classes, positives = judgments.classes, judgments.positives
    listed = ranks.filter(ranks["class_id"].is_in(classes.implode()))
    rows = classes.search_sorted(listed["class_id"]).to_numpy()
    sums = precision_sums(rows, (listed["relevance"] > 0).to_numpy(), np.ones(len(rows), dtype=bool), len(classes))
    per_class = pl.DataFrame(
        {"class_id": classes, "ap": sums / positives, "positives": pl.Series(positives, dtype=pl.UInt32)}
    )
    if mode == "google":
        per_class = per_class.filter(pl.col("class_id").is_in(present.implode()))
    if not per_class.height:
        raise ValueError("the submission has none of the classes with positives; check that both are of the same data")
    return Evaluation(
        map=float(np.mean(per_class["ap"].to_numpy())),
        classes=per_class.height,
        positives=int(positives.sum()),
        judged=judgments.pairs.height,
        retrieved=ranks.height,
        per_class=per_class,
    )


def precision_sums(rows: np.ndarray, positive: np.ndarray, listed: np.ndarray, classes: int) -> np.ndarray:
    """Sum of the precisions at the positives of each class (classes,) f64: AP times the number of positives.

    Args:
        rows: Class of each judged pair, as an index from 0, ascending; the pairs of a class are ordered best first.
        positive: True for relevant pairs.
        listed: True for pairs that the list has within the cutoff; the others come last in their class.
        classes: Number of classes.
    """
    sizes = np.bincount(rows, minlength=classes)
    starts = np.cumsum(sizes) - sizes
    hits = np.cumsum(positive)
    hits_before = np.concatenate([[0], hits])[starts]
    position = np.arange(1, len(rows) + 1) - starts[rows]
    precision = np.where(positive & listed, (hits - hits_before[rows]) / position, 0.0)
    # `bincount` adds in the order of the rows, so zeros in between do not change a bit of the sums.
    return np.bincount(rows, weights=precision, minlength=classes)
