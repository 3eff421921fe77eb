"""GAP@20 by hand, against a plain version of the starter code's definition, and its properties."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.measures.bootstrap import Bootstrap
from scoring.measures.global_average_precision import global_average_precision, pooled


def ids(count: int) -> pl.Series:
    return pl.Series([f"v{number:03}" for number in range(count)])


def reference(scores: np.ndarray, labels: np.ndarray, predictions: int) -> float:
    """The starter code's definition; equal confidences by video, then class."""
    pool = []
    for video, (row, own) in enumerate(zip(scores, labels, strict=True)):
        best = sorted(range(len(row)), key=lambda c: (-row[c], c))[:predictions]
        pool += [(-row[c], video, c, own[c]) for c in best]
    hits, total = 0, 0.0
    for position, (*_, positive) in enumerate(sorted(pool), start=1):
        if positive:
            hits += 1
            total += hits / position
    return total / labels.sum()


def test_by_hand():
    scores = np.array([[0.9, 0.5, 0.1], [0.8, 0.7, 0.2]])
    labels = np.array([[True, False, True], [False, True, False]])
    # The best two of each video are pooled: 0.9 positive, 0.8, 0.7 positive, 0.5. One label of the first is not there.
    assert global_average_precision(scores, labels, ids(2), predictions=2) == pytest.approx((1 + 2 / 3) / 3, abs=1e-15)
    assert global_average_precision(scores, labels, ids(2)) == pytest.approx((1 + 2 / 3 + 3 / 6) / 3, abs=1e-15)


worlds = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def world(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Random scores with many ties, and labels, at least one."""
    shape = rng.integers(1, 8, size=2)
    scores = rng.integers(1 + rng.integers(6), size=shape).astype(np.float32) / 4
    labels = rng.random(shape) < 0.3
    labels.flat[rng.integers(labels.size)] = True
    return scores, labels


@settings(max_examples=30)
@given(worlds, st.integers(1, 5))
def test_equals_the_definition_in_plain_python(rng, predictions):
    scores, labels = world(rng)
    measured = global_average_precision(scores, labels, ids(len(scores)), predictions=predictions)
    assert measured == pytest.approx(reference(scores, labels, predictions), abs=1e-12)
    assert 0 <= measured <= 1


@settings(max_examples=30)
@given(worlds)
def test_does_not_depend_on_the_order_of_the_videos(rng):
    scores, labels = world(rng)
    order = rng.permutation(len(scores))
    videos = ids(len(scores))
    shuffled = global_average_precision(scores[order], labels[order], videos.gather(order))
    assert shuffled == global_average_precision(scores, labels, videos)


@settings(max_examples=30)
@given(worlds)
def test_is_one_exactly_when_all_labels_come_first(rng):
    scores, labels = world(rng)
    assert global_average_precision(labels.astype(np.float32), labels, ids(len(labels))) == 1
    is_first = scores[labels].min() > scores[~labels].max(initial=-1)
    assert not is_first or global_average_precision(scores, labels, ids(len(scores))) == 1
    if not labels.all():
        assert global_average_precision(-labels.astype(np.float32), labels, ids(len(labels))) < 1


def test_what_cannot_be_measured():
    scores, none = np.zeros((2, 3)), np.zeros((2, 3), dtype=bool)
    with pytest.raises(ValueError, match="no positive"):
        global_average_precision(scores, none, ids(2))
    with pytest.raises(ValueError, match=r"scores are \(2, 3\), labels \(2, 3\); both need a row per video \(3\)"):
        global_average_precision(scores, ~none, ids(3))
    with pytest.raises(ValueError, match="NaN"):
        global_average_precision(scores * np.nan, ~none, ids(2))


def test_two_models_are_resampled_alike():
    """Their pools have different items, but the same videos."""
    rng = np.random.default_rng(0)
    labels = rng.random((60, 30)) < 0.1
    labels[:, 0] = True
    good, poor = (labels + noise * rng.normal(size=labels.shape) for noise in (0.5, 2.0))
    pools = [pooled(scores, labels, ids(60)) for scores in (good, poor)]
    first, second = (Bootstrap(pool.judgments, resamples=200).measure(pool.ranks, pool.present) for pool in pools)
    assert first.units == second.units == 60
    assert first.map == global_average_precision(good, labels, ids(60))
    difference = first.over(second)
    assert 0 < difference.low < difference.map < difference.high
    # Videos given as often as drawn, as if they were others.
    times = np.bincount(np.random.default_rng(0).integers(60, size=60), minlength=60)
    copies = np.repeat(np.arange(60), times)
    maps = Bootstrap(pools[0].judgments, resamples=1).maps(pools[0].ranks, pools[0].present)
    expected = global_average_precision(good[copies], labels[copies], ids(60))
    assert maps[0] == pytest.approx(expected, abs=1e-12)
