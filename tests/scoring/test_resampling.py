import numpy as np
import pytest

from scoring.average_precision import judged_ranks, mean_average_precision
from scoring.objective import Objective
from scoring.resampling import (
    bootstrap_interval,
    cross_validated_map,
    leave_one_out,
    paired_difference,
    resampled_maps,
    sensitivity,
    shrink,
    videos_of,
)
from tests.scoring.lists import judgments_of, submission_of


def test_a_draw_is_evaluating_with_videos_given_as_often_as_drawn():
    ranked = {1: ["a:0", "b:0", "a:5", "c:0"], 2: ["c:0", "a:0"]}
    relevance = {
        (1, "a:0"): 1,
        (1, "b:0"): 0,
        (1, "a:5"): 0,
        (1, "c:0"): 1,
        (1, "b:5"): 1,
        (2, "a:0"): 1,
        (2, "c:0"): 0,
    }
    judgments = judgments_of(relevance)
    maps = resampled_maps(judged_ranks(submission_of(ranked), judgments), judgments, replicates=25, seed=3)
    rng = np.random.default_rng(3)
    expected = []
    while len(expected) < 25:
        times = dict(zip("abc", np.bincount(rng.integers(3, size=3), minlength=3), strict=True))
        copies = {s: [f"{s}#{i}" for i in range(times[s[0]])] for s in ("a:0", "a:5", "b:0", "b:5", "c:0")}
        drawn = {c: [copy for s in ids for copy in copies[s]] for c, ids in ranked.items()}
        judged = {(c, copy): value for (c, s), value in relevance.items() for copy in copies[s]}
        if any(value > 0 for value in judged.values()):
            expected.append(mean_average_precision(submission_of(drawn), judgments_of(judged)).map)
    assert maps == pytest.approx(expected, abs=1e-12)


def random_world(rng, separator=":"):
    ids = [f"v{i:03}{separator}{5 * j}" for i in range(60) for j in range(2)]
    relevance, lists = {}, {"x": {}, "y": {}}
    for class_id in range(5):
        truth = rng.normal(size=len(ids))
        relevance |= {(class_id, s): int(value > 0.5) for s, value in zip(ids, truth, strict=True)}
        for ranked in lists.values():
            ranked[class_id] = [ids[i] for i in np.argsort(-truth - rng.normal(size=len(ids)))]
    return {name: submission_of(ranked) for name, ranked in lists.items()}, judgments_of(relevance)


@pytest.mark.parametrize("separator", [":", "-"])
def test_the_interval_holds_the_value_and_repeats(separator):
    submissions, judgments = random_world(np.random.default_rng(0), separator)
    ranks = judged_ranks(submissions["x"], judgments)
    low, high = bootstrap_interval(ranks, judgments, replicates=200)
    assert 0 < low < mean_average_precision(submissions["x"], judgments).map < high < 1
    assert bootstrap_interval(ranks, judgments, replicates=200) == (low, high)
    assert bootstrap_interval(ranks, judgments, replicates=200, seed=1) != (low, high)


def test_without_a_colon_classes_are_drawn():
    judgments = judgments_of({(1, "doc-a"): 1, (2, "doc-b"): 1})
    ranks = judged_ranks(submission_of({1: ["doc-a"], 2: []}), judgments)
    assert set(resampled_maps(ranks, judgments, replicates=50).tolist()) == {0.0, 0.5, 1.0}


def test_the_video_is_the_id_up_to_its_last_colon():
    assert videos_of(judgments_of({(1, "a:b:5"): 1, (1, "a:0"): 1})).to_list() == ["a:b", "a"]


def test_cross_validation_scores_where_nothing_was_fitted():
    submissions, judgments = random_world(np.random.default_rng(0))
    # A member that ranks as the judgments say; another that ranks the other way round.
    submissions["oracle"] = submission_of(
        {c: judgments.filter(class_id=c).sort("relevance", descending=True)["segment_id"].to_list() for c in range(5)}
    )
    objective = Objective.of(submissions, judgments)
    validated = cross_validated_map(objective, repeats=2, evaluations=60)
    assert validated.best_member == 1.0
    assert validated.fitted > validated.equal_weights
    assert cross_validated_map(objective, repeats=2, evaluations=60) == validated


def test_one_video_cannot_be_halved():
    judgments = judgments_of({(1, "a:0"): 1, (1, "a:5"): 0})
    with pytest.raises(ValueError, match="one video"):
        cross_validated_map(Objective.of({"x": submission_of({1: ["a:0"]})}, judgments))


def test_a_difference_is_paired_by_draws():
    submissions, judgments = random_world(np.random.default_rng(0))
    one, other = (judged_ranks(submissions[name], judgments) for name in "xy")
    difference = paired_difference(one, other, judgments, replicates=200)
    drawn = [resampled_maps(ranks, judgments, replicates=200) for ranks in (one, other)]
    assert difference.low == pytest.approx(np.quantile(drawn[0] - drawn[1], 0.025))
    assert difference.above == np.mean(drawn[0] > drawn[1])
    maps = [mean_average_precision(submissions[name], judgments).map for name in "xy"]
    assert difference.map == maps[0] - maps[1]
    same = paired_difference(one, one, judgments, replicates=20)
    assert (same.map, same.low, same.high, same.above) == (0, 0, 0, 0)


def test_a_member_that_repeats_another_is_not_needed():
    submissions, judgments = random_world(np.random.default_rng(0))
    objective = Objective.of({**submissions, "z": submissions["y"]}, judgments)
    gains = leave_one_out(objective, {"x": 2.0, "y": 1.0, "z": 0.0}, 5.0)
    assert gains["x"] == objective.map({"x": 2, "y": 1, "z": 0}, 5.0) - objective.map({"x": 0, "y": 1, "z": 0}, 5.0)
    assert gains.keys() == {"x", "y"}
    assert leave_one_out(objective, {"x": 1.0, "y": 0.0, "z": 0.0}, 5.0) == {}


def test_sensitivity_moves_one_share_and_keeps_the_ratios_of_the_others():
    submissions, judgments = random_world(np.random.default_rng(0))
    objective = Objective.of({**submissions, "z": submissions["y"]}, judgments)
    shares, maps = sensitivity(objective, {"x": 2.0, "y": 1.0, "z": 1.0}, 5.0, steps=5)["x"]
    assert shares == [0, 0.25, 0.5, 0.75, 1]
    assert maps[2] == objective.map({"x": 2, "y": 1, "z": 1}, 5.0)
    assert maps[4] == objective.map({"x": 1, "y": 0, "z": 0}, 5.0)


def test_shrinking_ends_at_equal_weights():
    assert shrink({"x": 3, "y": 1}, 0) == {"x": 0.75, "y": 0.25}
    assert shrink({"x": 3, "y": 1}, 0.5) == {"x": 0.625, "y": 0.375}
    assert shrink({"x": 3, "y": 1}, 1) == {"x": 0.5, "y": 0.5}
