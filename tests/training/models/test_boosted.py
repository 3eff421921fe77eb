"""The booster's features, on evidence small enough to read."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from training.models.boosted import OFFSETS, BoostedConfig, Evidence, candidates, feature_names, features

# Two videos: one of three segments in the wrong order, one of two that lie apart. Two scored classes, one member.
VIDEO = np.array([7, 7, 7, 4, 4])
START = np.array([10, 0, 5, 0, 15])
SCORES = np.array([[[0.9, 0.2], [0.1, 0.3], [0.5, 0.4], [0.6, 0.8], [0.7, 0.05]]], dtype=np.float32)
FIRST, SECOND, THIRD = 1, 2, 0  # the rows of the first video's segments in their order


def looked_up(resemblance: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """`Evidence.resemblance` from an array (R, N, S)."""
    return lambda rows, classes: resemblance[:, rows, classes]


@pytest.fixture
def evidence() -> Evidence:
    resemblance = looked_up(np.arange(4 * 5 * 2, dtype=np.float32).reshape(4, 5, 2))
    return Evidence(SCORES, resemblance, VIDEO, START, frames=np.array([15, 15, 15, 40, 40]), segment_frames=5)


def of_all(evidence: Evidence) -> np.ndarray:
    """The features (N, S, F) of every pair."""
    shape = evidence.scores.shape[1:]
    rows, classes = (places.ravel() for places in np.indices(shape))
    return features(evidence, rows, classes).reshape(*shape, -1)


def columns(evidence: Evidence) -> dict[str, np.ndarray]:
    """Each feature (N, S) by its name."""
    names = feature_names(BoostedConfig(bases=("bert",)), ["rgb", "audio"])
    values = of_all(evidence)
    assert values.shape == (*evidence.scores.shape[1:], len(names))
    assert values.dtype == np.float32
    return {name: values[..., i] for i, name in enumerate(names)}


def logit(p: float) -> float:
    return float(np.log((p + 1e-6) / (1 - p + 1e-6)))


def test_scores_are_logits(evidence: Evidence) -> None:
    score = columns(evidence)["bert.score"]
    assert score[0, 0] == pytest.approx(logit(0.9), abs=1e-4)
    assert score[4, 1] == pytest.approx(logit(0.05), abs=1e-4)


def test_neighbours_are_those_of_the_video_and_nan_beyond_it(evidence: Evidence) -> None:
    by_name = columns(evidence)
    score = by_name["bert.score"]
    neighbour = {offset: by_name[f"bert.score{offset:+d}"] for offset in OFFSETS}
    assert neighbour[1][FIRST, 0] == score[SECOND, 0]
    assert neighbour[2][FIRST, 1] == score[THIRD, 1]
    assert neighbour[-1][THIRD, 0] == score[SECOND, 0]
    assert np.isnan(neighbour[-1][FIRST]).all()
    assert np.isnan(neighbour[1][THIRD]).all()
    # The other video's segments start at 0 and 15: three places apart, so that neither is the other's neighbour.
    assert all(np.isnan(values[[3, 4]]).all() for values in neighbour.values())


def test_maximum_mean_and_ranks_within_the_video(evidence: Evidence) -> None:
    by_name = columns(evidence)
    score = by_name["bert.score"]
    assert by_name["bert.video_max"][:, 0].tolist() == pytest.approx([score[0, 0]] * 3 + [score[4, 0]] * 2)
    assert by_name["bert.video_mean"][FIRST, 1] == pytest.approx(score[:3, 1].mean(), abs=1e-5)
    assert by_name["bert.rank_in_video"][:, 0].tolist() == [0, 1, 0.5, 1, 0]  # 0 is best
    assert by_name["bert.rank_in_segment"].tolist() == [[0, 1], [1, 0], [0, 1], [1, 0], [0, 1]]


def test_likeness_and_place_are_handed_on(evidence: Evidence) -> None:
    by_name = columns(evidence)
    names = ["rgb.like_positives", "rgb.like_negatives", "audio.like_positives", "audio.like_negatives"]
    assert [by_name[name][1, 1] for name in names] == evidence.resemblance(np.array(1), np.array(1)).tolist()
    assert by_name["place"][:, 0].tolist() == pytest.approx([10 / 15, 0, 5 / 15, 0, 15 / 40])
    assert by_name["frames"][:, 1].tolist() == [15, 15, 15, 40, 40]


def test_each_member_has_its_own_columns(evidence: Evidence) -> None:
    two = replace(evidence, scores=np.concatenate([SCORES, 1 - SCORES]))
    names = feature_names(BoostedConfig(bases=("a", "b")), ["rgb", "audio"])
    assert len(set(names)) == len(names)
    values = dict(zip(names, np.moveaxis(of_all(two), -1, 0), strict=True))
    np.testing.assert_allclose(values["a.score"], -values["b.score"], atol=1e-4)
    np.testing.assert_allclose(two.mean_scores, 0.5)


def test_order_of_segments_is_nothing_to_the_features(evidence: Evidence) -> None:
    order = np.array([3, 0, 4, 2, 1])
    turned = Evidence(
        evidence.scores[:, order],
        lambda rows, classes: evidence.resemblance(order[rows], classes),
        evidence.video[order],
        evidence.start[order],
        evidence.frames[order],
        evidence.segment_frames,
    )
    np.testing.assert_array_equal(of_all(turned), of_all(evidence)[order])


def test_a_video_says_nothing_of_another(evidence: Evidence) -> None:
    """The features of one video's pairs do not change with the scores of the other."""
    other = replace(evidence, scores=np.where(VIDEO[:, None] == 4, 0.5, SCORES))
    np.testing.assert_array_equal(of_all(other)[VIDEO == 7], of_all(evidence)[VIDEO == 7])


def drawn(videos: int, classes: int, seed: int = 0) -> Evidence:
    """Videos of one to six segments, of which some are missing, in no order; two members, few distinct scores."""
    rng = np.random.default_rng(seed)
    place = [sorted(rng.choice(7, rng.integers(1, 7), replace=False).tolist()) for _ in range(videos)]
    order = rng.permutation(sum(map(len, place)))
    video, start = np.repeat(np.arange(videos), [len(p) for p in place])[order], 5 * np.concatenate(place)[order]
    scores = rng.integers(1, 10, (2, len(order), classes)).astype(np.float32) / 10  # with equal ones
    resemblance = rng.normal(size=(4, len(order), classes)).astype(np.float32)
    return Evidence(scores, looked_up(resemblance), video, start, frames=35 - video % 3, segment_frames=5)


def plainly(evidence: Evidence, row: int, place: int) -> list[float]:
    """The features of one pair, looked up one by one."""
    own = [i for i in range(len(evidence.video)) if evidence.video[i] == evidence.video[row]]
    values: list[float] = []
    for member in evidence.scores:
        logits = np.log((member + 1e-6) / (1 - member + 1e-6))
        values.append(logits[row, place])
        for offset in OFFSETS:
            there = [i for i in own if evidence.start[i] == evidence.start[row] + 5 * offset]
            values.append(logits[there[0], place] if there else np.nan)
        inside = logits[own, place]
        values += [inside.max(), inside.mean()]
        for others, at in ((inside, own.index(row)), (logits[row], place)):
            better = sum(others > others[at]) + sum(others[:at] == others[at])
            values.append(better / max(len(others) - 1, 1))
    return [
        *values,
        *evidence.resemblance(np.array(row), np.array(place)),
        evidence.start[row] / evidence.frames[row],
        evidence.frames[row],
    ]


def test_features_of_any_pairs_are_those_looked_up_one_by_one() -> None:
    evidence = drawn(videos=12, classes=9)
    rng = np.random.default_rng(1)
    rows, classes = rng.integers(0, len(evidence.video), 200), rng.integers(0, 9, 200)
    found = features(evidence, rows, classes)
    expected = [plainly(evidence, *pair) for pair in zip(rows.tolist(), classes.tolist(), strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(found, of_all(evidence)[rows, classes])  # whatever other pairs are asked for


def test_candidates_are_the_classes_that_a_video_as_a_whole_scores_highest(evidence: Evidence) -> None:
    # Mean scores: (0.5, 0.3) in the first video, (0.65, 0.425) in the second.
    assert candidates(evidence, 1).tolist() == [[True, False]] * 5
    turned = replace(evidence, scores=np.where(VIDEO[:, None] == 4, SCORES[..., ::-1], SCORES))
    assert candidates(turned, 1).tolist() == [[True, False]] * 3 + [[False, True]] * 2
    assert candidates(evidence, 2).all()
    assert candidates(evidence, 9).all()
