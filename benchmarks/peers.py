"""Compare fusion and evaluation with other libraries on the same generated lists: time, and whether results agree.

Each peer's data is converted to its own form before the clock starts; ours are coded lists in memory. ranx and
scikit-learn cannot leave out unjudged segments: removing them, and conversion of the rest, is part of their time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import polars as pl

from benchmarks.lists import World
from benchmarks.timing import timed
from scoring.fusion.fusion import fuse
from scoring.lists.ranked import Submission
from scoring.measures.average_precision import mean_average_precision

RRF_K = 60.0  # ranx's default
WARM_UP = 1_000
PATIENCE = 30.0  # seconds per class; a peer that takes longer at one size is not run at the next


@dataclass(frozen=True)
class Row:
    """`seconds` (the peer's) and `ours` are per class; `agrees`: both results are equal."""

    task: str
    peer: str
    length: int
    seconds: float
    ours: float
    agrees: bool


def compare(lengths: tuple[int, ...] = (1_000, 10_000, 100_000)) -> Iterator[Row]:
    """Every peer at each list length until it takes too long, on 50 classes, or two for lists of competition size."""
    stopped: set[str] = set()
    for length in lengths:
        classes = 50 if length <= 10_000 else 2
        world = World(classes, segments_count=max(20 * length, 50_000), length=length)
        submissions, judgments = world.generate()
        for row in [*_fusion(submissions, length, stopped), *_evaluation(submissions, judgments, length, stopped)]:
            if row.seconds > PATIENCE:
                stopped.add(row.peer)
            yield row


def _fusion(submissions: Mapping[str, Submission], length: int, stopped: set[str]) -> Iterator[Row]:
    import ranx

    if "ranx" in stopped:
        return
    runs = [ranx.Run(_scored(submission)) for submission in submissions.values()]
    if length <= WARM_UP:
        ranx.fuse(runs=runs, method="rrf", params={"k": RRF_K})  # numba compiles at the first call
    fused, seconds = timed(lambda: ranx.fuse(runs=runs, method="rrf", params={"k": RRF_K}))
    everything = 10 * length * len(submissions)
    fuse(submissions, None, RRF_K, cutoff=everything)  # loads the kernels
    ours, spent = timed(lambda: fuse(submissions, None, RRF_K, cutoff=everything))
    agrees = True
    for class_id, ids in _texts(ours).items():
        scores = dict(fused.run[str(class_id)])
        ranked = np.array([scores[segment] for segment in ids])
        agrees &= len(scores) == len(ids) and bool(np.all(np.diff(ranked) < 1e-15))
    yield _bare_loop(submissions, spent / len(ours.classes), ours, length)
    yield Row("fuse nine lists (RRF)", "ranx", length, seconds / len(ours.classes), spent / len(ours.classes), agrees)


def _bare_loop(submissions: Mapping[str, Submission], spent: float, ours: Submission, length: int) -> Row:
    """A compiled loop that only adds votes and sorts: no shares, no checks, no order of equal scores."""
    import numba

    @numba.njit
    def fuse_lists(codes: np.ndarray, lists: int, segments: int) -> np.ndarray:
        scores = np.zeros(segments)
        for place in range(len(codes)):
            scores[codes[place]] += 1 / (RRF_K + place % (len(codes) // lists) + 1)
        listed = np.flatnonzero(scores)
        return listed[np.argsort(-scores[listed])]

    lists = [dict(submission.ranked()) for submission in submissions.values()]
    flat = {class_id: np.concatenate([ranked[class_id] for ranked in lists]) for class_id in ours.classes}
    segments = len(ours.segments)
    fuse_lists(flat[ours.classes[0]], len(lists), segments)  # compiles
    fused, seconds = timed(lambda: {c: fuse_lists(codes, len(lists), segments) for c, codes in flat.items()})
    agrees = all(len(codes) == len(fused[class_id]) for class_id, codes in ours.ranked())
    return Row("fuse nine lists (RRF)", "bare compiled loop", length, seconds / len(flat), spent, agrees)


def _evaluation(
    submissions: Mapping[str, Submission], judgments: pl.DataFrame, length: int, stopped: set[str]
) -> Iterator[Row]:
    import ir_measures
    import pytrec_eval
    import ranx
    from sklearn.metrics import average_precision_score

    # Peers differ on classes without positives: these are left out.
    judgments = judgments.filter((pl.col("relevance") > 0).any().over("class_id"))
    submission = next(iter(submissions.values())).read(judgments["class_id"].unique().to_list())
    scored = _scored(submission)
    graded: dict[str, dict[str, int]] = {}
    for class_id, segment, relevance in judgments.iter_rows():
        graded.setdefault(str(class_id), {})[segment] = relevance
    mean_average_precision(submission, judgments)
    ours, spent = timed(lambda: mean_average_precision(submission, judgments))

    def row(peer: str, work: Callable[[], float]) -> Iterator[Row]:
        if peer not in stopped:
            value, seconds = timed(work)
            yield Row(task, peer, length, seconds / len(scored), spent / len(scored), abs(value - ours.map) < 1e-9)

    task = "MAP, judged only"
    measure = ir_measures.AP(judged_only=True)
    qrels = [ir_measures.Qrel(c, segment, grade) for c, pairs in graded.items() for segment, grade in pairs.items()]
    run = [ir_measures.ScoredDoc(c, segment, score) for c, ids in scored.items() for segment, score in ids.items()]
    yield from row("ir_measures", lambda: float(ir_measures.calc_aggregate([measure], qrels, run)[measure]))
    evaluator = pytrec_eval.RelevanceEvaluator(graded, {"map"}, judged_docs_only_flag=True)
    yield from row(
        "pytrec_eval", lambda: float(np.mean([values["map"] for values in evaluator.evaluate(scored).values()]))
    )

    positives = {c: {segment: 1 for segment, grade in pairs.items() if grade > 0} for c, pairs in graded.items()}
    known = ranx.Qrels(positives)
    ranx.evaluate(ranx.Qrels({"1": {"a": 1}}), ranx.Run({"1": {"a": 1.0}}), "map")

    def ranx_map() -> float:
        judged = {
            c: {segment: score for segment, score in ids.items() if segment in graded[c]} for c, ids in scored.items()
        }
        return cast(float, ranx.evaluate(known, ranx.Run(judged), "map"))

    def scikit_learn_map() -> float:
        values = []
        for c, ids in scored.items():
            truth = np.array([graded[c][segment] > 0 for segment in ids if segment in graded[c]])
            # scikit-learn divides by the listed positives, MAP by all positives.
            share = truth.sum() / len(positives[c])
            values.append(average_precision_score(truth, _falling(truth)) * share if share else 0.0)
        return float(np.mean(values))

    yield from row("ranx", ranx_map)
    yield from row("scikit-learn", scikit_learn_map)


def _texts(submission: Submission) -> dict[int, list[str]]:
    return {class_id: submission.segments.gather(codes).to_list() for class_id, codes in submission.ranked()}


def _scored(submission: Submission) -> dict[str, dict[str, float]]:
    return {str(c): dict(zip(ids, _falling(ids), strict=True)) for c, ids in _texts(submission).items()}


def _falling(ids: Sequence | np.ndarray) -> list[float]:
    return np.arange(len(ids), 0, -1, dtype=float).tolist()
