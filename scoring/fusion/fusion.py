"""Weighted reciprocal-rank fusion of an ensemble's members, or with equal weights of a member's shifts.

Cormack, Clarke and Büttcher, SIGIR 2009, with weights. The original's `w0 / (i + w0)` for position i from 0 gives the
same order as `1 / (k + rank)` with k = w0 - 1.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
import polars as pl

from scoring.lists.kernels import best_first, fused_scores
from scoring.lists.ranked import K, Submission, from_codes, share_segments, with_scores
from scoring.lists.ranking import rank_within_class
from scoring.lists.text import brief

By = Literal["rank", "score"]

MEMBER_K = 5.058430980648939
SHIFT_K = 2.72384689385059


def fuse(
    submissions: Mapping[str, Submission],
    weights: Mapping[str, float] | None,
    k: float,
    cutoff: int = K,
    *,
    keep_scores: bool = False,
) -> Submission:
    """Fuse ranked lists: a segment's score is the sum of weight / (k + rank), rank from 1, over members that list it.

    Weights (None: equal) are divided by their sum; members are added in the order of their names. Equal scores order by
    ascending segment id. The result has the `cutoff` best segments of each class, from members of positive weight,
    and their scores (f32) if `keep_scores`.
    """
    shares = shares_of(weights, submissions)
    names = list(shares)
    shared = share_segments([submissions[name] for name in names])
    lists = [dict(submission.ranked()) for submission in shared]
    longest = max((len(codes) for ranked in lists for codes in ranked.values()), default=0)
    _check_sizes(shares, k, cutoff, longest)
    segments = shared[0].segments
    fused, fused_score = {}, []
    for class_id in sorted(set().union(*lists)):
        voting = [
            (ranked[class_id], share)
            for ranked, share in zip(lists, shares.values(), strict=True)
            if class_id in ranked
        ]
        codes, scores = fused_scores([codes for codes, _ in voting], [share for _, share in voting], k, len(segments))
        best = best_first(scores, cutoff)
        fused[class_id] = codes[best]
        if keep_scores:
            fused_score.append(scores[best])
    submission = from_codes(fused, segments)
    return with_scores(submission, fused_score) if keep_scores else submission


def shares_of(weights: Mapping[str, float] | None, members: Iterable[str]) -> dict[str, float]:
    """The positive weights divided by their sum, in the order of the members' names.

    ValueError if members and weights do not match by name, or a weight is negative, infinite or NaN.
    """
    names = sorted(members)
    if not names:
        raise ValueError("there is nothing to fuse; give at least one submission")
    weights = dict.fromkeys(names, 1.0) if weights is None else weights
    if set(weights) != set(names):
        lacking = brief(str(sorted(set(names) - set(weights))))
        unknown = brief(str(sorted(set(weights) - set(names))))
        raise ValueError(f"weights and members do not match: no weight for {lacking}, no member for {unknown}")
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"the weight of {name} is {weight}; weights are finite and not negative")
    if not 0 < (rough := sum(weights.values())) < math.inf:
        raise ValueError(f"the weights sum to {rough}; at least one must be positive, and their sum finite")
    total = math.fsum(weights.values())
    if abs(total - 1) < 1e-12:
        total = 1.0  # shares from weights.json stay the same to the last bit, which can decide an order
    return {name: weights[name] / total for name in names if weights[name] > 0}


def _check_sizes(shares: Mapping[str, float], k: float, cutoff: int, longest: int) -> None:
    check_k(k)
    if cutoff < 1:
        raise ValueError(f"cutoff is {cutoff}; it must be at least 1")
    for name, share in shares.items():
        # A segment whose score underflows to 0 would be dropped silently.
        if share / (k + longest + 1) < np.finfo(float).tiny:
            raise ValueError(f"the weight of {name} is too small to count, compared with the others; set it to 0")


def check_k(k: float) -> None:
    """ValueError if ranked lists cannot be fused with this k."""
    if not (math.isfinite(k) and k > -1):
        raise ValueError(f"k is {k}; it must be finite and above -1, since ranks start at 1")


def merge_shifts(submissions: Sequence[Submission], by: By = "rank", *, keep_scores: bool = False) -> Submission:
    """Merge a member's shifts into its submission with the best K segments of each class.

    By rank: fusion with equal weights and SHIFT_K, with `keep_scores` as for `fuse`. By score: the mean probability
    over the shifts, 0 for a shift that does not list the segment; the result has these means as scores.
    """
    if by == "rank":
        shifts = {f"{number:04}": submission for number, submission in enumerate(submissions)}
        return fuse(shifts, None, SHIFT_K, keep_scores=keep_scores)
    if not submissions:
        raise ValueError("there is nothing to merge; give at least one shift")
    for submission in submissions:
        if "scores" not in submission.lists.columns:
            raise ValueError("merging by score needs predictions with scores; merge these by rank")
    shared = share_segments(submissions)
    segments = shared[0].segments
    total, seen = np.zeros(len(segments)), np.zeros(len(segments), dtype=bool)
    merged, means = {}, {}
    for class_id in sorted(set().union(*(submission.classes for submission in shared))):
        for submission in shared:
            row = submission.lists.filter(pl.col("class_id") == class_id)
            for codes, scores in zip(row["segments"], row["scores"], strict=True):
                total[codes.to_numpy()] += scores.to_numpy() / len(shared)
                seen[codes.to_numpy()] = True
        listed = np.flatnonzero(seen)
        best = listed[rank_within_class(total[listed], K)]
        merged[class_id], means[class_id] = best, total[best]
        total[listed], seen[listed] = 0.0, False
    submission = from_codes(merged, segments)
    return with_scores(submission, [means[class_id] for class_id in submission.classes])
