from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from scoring.fusion.fusion import MEMBER_K
from scoring.measures.average_precision import Mode, mean_average_precision, ranks_of_blocks
from scoring.measures.bootstrap import Bootstrap, holm, mean_over, p_text
from scoring.weights.cross_validation import cross_validated_map, given_on_halves, leave_one_out, sensitivity, shrink
from scoring.weights.objective import Objective
from tests.scoring.generated import judgments_of, submission_of
from videos.judgments import Judgments
from videos.segments import videos_of

RANKED = {1: ["a:0", "b:0", "a:5", "c:0"], 2: ["c:0", "a:0"]}
RELEVANCE = {
    (1, "a:0"): 1,
    (1, "b:0"): 0,
    (1, "a:5"): 0,
    (1, "c:0"): 1,
    (1, "b:5"): 1,
    (2, "a:0"): 1,
    (2, "c:0"): 0,
    (3, "b:0"): 1,
}


@pytest.mark.parametrize("mode", ["strict", "google"])
def test_a_resample_is_evaluated_as_if_videos_were_given_as_often_as_drawn(mode):
    """Class 3, which the submission lacks, counts 0 or not at all; resamples of b alone leave only that class."""
    judgments = judgments_of(RELEVANCE)
    ranks = ranks_of_blocks([submission_of(RANKED)], Judgments(judgments))
    maps = Bootstrap(Judgments(judgments), resamples=200, seed=3).maps(*ranks, mode)[:200]
    rng = np.random.default_rng(3)
    expected = []
    for _ in range(200):
        times = dict(zip("abc", np.bincount(rng.integers(3, size=3), minlength=3), strict=True))
        copies = {s: [f"{s}#{i}" for i in range(times[s[0]])] for s in ("a:0", "a:5", "b:0", "b:5", "c:0")}
        drawn = {c: [copy for s in ids for copy in copies[s]] for c, ids in RANKED.items()}
        judged = {(c, copy): value for (c, s), value in RELEVANCE.items() for copy in copies[s]}
        try:
            expected.append(mean_average_precision(submission_of(drawn), judgments_of(judged), mode=mode).map)
        except ValueError:  # no class to count
            expected.append(np.nan)
    assert maps == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert len(set(np.round(expected, 12))) > 5


def test_topics_that_a_submission_lacks_do_not_count_in_google():
    judgments = judgments_of({(1, "doc-a"): 1, (2, "doc-b"): 1, (3, "doc-c"): 1})
    ranks = ranks_of_blocks([submission_of({1: ["doc-a"], 2: []})], Judgments(judgments))
    modes: tuple[tuple[Mode, int], ...] = (("strict", 3), ("google", 2))
    for mode, classes in modes:
        rng = np.random.default_rng(0)
        drawn = [rng.integers(3, size=3) for _ in range(100)]
        expected = [np.mean([[1, 0, 0][topic] for topic in topics if topic < classes] or np.nan) for topics in drawn]
        assert Bootstrap(Judgments(judgments), resamples=100).maps(*ranks, mode)[:100] == pytest.approx(
            expected, nan_ok=True
        )


def random_world(rng, separator=":"):
    ids = [f"v{i:03}{separator}{5 * j}" for i in range(60) for j in range(2)]
    relevance, lists = {}, {"x": {}, "y": {}}
    for class_id in range(5):
        truth = rng.normal(size=len(ids))
        relevance |= {(class_id, s): int(value > 0.5) for s, value in zip(ids, truth, strict=True)}
        for ranked in lists.values():
            ranked[class_id] = [ids[i] for i in np.argsort(-truth - rng.normal(size=len(ids)))]
    return {name: submission_of(ranked) for name, ranked in lists.items()}, judgments_of(relevance)


def test_the_mean_over_seeds_is_resampled_as_a_whole():
    submissions, judgments = random_world(np.random.default_rng(0))
    bootstrap = Bootstrap(Judgments(judgments), resamples=50)
    x, y = (bootstrap.measure(*ranks_of_blocks([submissions[name]], Judgments(judgments))) for name in "xy")
    mean = mean_over([x, y])
    assert (mean.map, mean.units) == ((x.map + y.map) / 2, 60)
    assert mean.maps == pytest.approx((x.maps + y.maps) / 2)
    assert mean.gain_interval(x) == pytest.approx(np.quantile((y.maps - x.maps) / 2, [0.025, 0.975]))
    assert mean.over(x).map == pytest.approx((y.map - x.map) / 2)


def test_a_measure_on_some_units_is_that_of_their_judgments():
    submissions, judgments = random_world(np.random.default_rng(0))
    ranks = ranks_of_blocks([submissions["x"]], Judgments(judgments))
    half = judgments.filter(videos_of(judgments) < "v030")
    bootstrap = Bootstrap(Judgments(judgments), resamples=50)
    measured = bootstrap.measure_on(np.arange(30), *ranks)
    assert measured.map == pytest.approx(mean_average_precision(submissions["x"], half).map, abs=1e-12)
    assert np.nanmean(measured.maps) == pytest.approx(measured.map)
    every = bootstrap.measure_on(np.arange(60), *ranks)
    assert every.maps == pytest.approx(bootstrap.measure(*ranks).maps)


@pytest.mark.parametrize("separator", [":", "-"])
def test_the_interval_contains_the_map_and_repeats(separator):
    submissions, judgments = random_world(np.random.default_rng(0), separator)
    ranks = ranks_of_blocks([submissions["x"]], Judgments(judgments))
    measured = Bootstrap(Judgments(judgments), resamples=200).measure(*ranks)
    low, high = measured.interval
    assert 0 < low < measured.map < high < 1
    assert measured.evaluation.map == mean_average_precision(submissions["x"], judgments).map
    assert Bootstrap(Judgments(judgments), resamples=200).measure(*ranks).interval == (low, high)
    assert Bootstrap(Judgments(judgments), resamples=200, seed=1).measure(*ranks).interval != (low, high)


def test_the_interval_is_around_the_map_for_many_classes():
    """Duplicated videos bias MAP upward; with many classes the bias exceeds the spread."""
    rng = np.random.default_rng(0)
    ids = [f"v{i:03}:0" for i in range(400)]
    judged = {(c, str(s)): int(rng.random() < 0.5) for c in range(300) for s in rng.choice(ids, 8, replace=False)}
    judgments = judgments_of(judged)
    lists = {c: rng.permutation([s for class_id, s in judged if class_id == c]) for c in range(300)}
    ranks = ranks_of_blocks([submission_of(lists)], Judgments(judgments))
    measured, drawn = (
        Bootstrap(Judgments(judgments), resamples=200).measure(*ranks),
        Bootstrap(Judgments(judgments), resamples=200).maps(*ranks)[:200],
    )
    assert np.quantile(drawn, 0.025) > measured.map
    low, high = measured.interval
    assert low < measured.map < high
    assert high - low == pytest.approx(np.quantile(drawn, 0.975) - np.quantile(drawn, 0.025))


def test_an_interval_stays_within_0_and_1():
    """Shifting the resampled MAPs to their mean moves some beyond these limits if there are few units."""
    judgments = judgments_of(RELEVANCE)
    measured = Bootstrap(Judgments(judgments), resamples=20).measure(
        *ranks_of_blocks([submission_of(RANKED)], Judgments(judgments))
    )
    assert replace(measured, maps=np.array([-0.1, 0.5, 1.1, np.nan])).interval == (0.0, 1.0)


def test_the_video_is_the_id_up_to_its_last_colon():
    assert videos_of(judgments_of({(1, "a:b:5"): 1, (1, "a:0"): 1})).to_list() == ["a:b", "a"]


def test_cross_validation_scores_where_nothing_was_fitted():
    submissions, judgments = random_world(np.random.default_rng(0))
    # Its lists agree with the judgments; those of x and y have noise.
    submissions["oracle"] = submission_of(
        {c: judgments.filter(class_id=c).sort("relevance", descending=True)["segment_id"].to_list() for c in range(5)}
    )
    objective = Objective.of(submissions, Judgments(judgments))
    validated = cross_validated_map(objective, repeats=2, evaluations=60)
    assert validated.best_member == 1.0
    assert validated.fitted > validated.equal_weights
    assert cross_validated_map(objective, repeats=2, evaluations=60) == validated


def test_given_weights_are_scored_on_the_halves_as_they_are():
    submissions, judgments = random_world(np.random.default_rng(0))
    objective = Objective.of(submissions, Judgments(judgments))
    equal = given_on_halves(objective, {"x": 1.0, "y": 1.0}, MEMBER_K, repeats=2)
    assert equal.fitted == equal.shrunk == equal.equal_weights
    alone = given_on_halves(objective, {"x": 1.0, "y": 0.0}, 5.0, repeats=2)
    assert alone.equal_weights == equal.equal_weights
    whole = objective.map({"x": 1.0, "y": 0.0}, 5.0)
    assert abs(alone.fitted - whole) < abs(alone.fitted - objective.map({"x": 0.0, "y": 1.0}, 5.0))


def test_one_video_cannot_be_halved():
    judgments = judgments_of({(1, "a:0"): 1, (1, "a:5"): 0})
    with pytest.raises(ValueError, match="one video or class"):
        cross_validated_map(Objective.of({"x": submission_of({1: ["a:0"]})}, Judgments(judgments)))


def test_a_difference_is_paired_by_resample():
    submissions, judgments = random_world(np.random.default_rng(0))
    bootstrap = Bootstrap(Judgments(judgments), resamples=200)
    ranks = {name: ranks_of_blocks([submission], Judgments(judgments)) for name, submission in submissions.items()}
    one, other = (bootstrap.measure(*ranks[name]) for name in "xy")
    difference = one.over(other)
    gains, without = bootstrap.maps(*ranks["x"]) - bootstrap.maps(*ranks["y"]), one.without - other.without
    gains = gains[:200] + difference.map - gains[:200].mean()
    assert difference.map == one.map - other.map
    assert difference.above == np.mean(gains > 0)
    # The judgments have 60 videos, so the jackknife leaves one out at a time.
    error = np.sqrt(59 / 60 * np.sum((without - without.mean()) ** 2))
    low, high = stats.t.interval(0.95, 59, difference.map, error)
    assert (difference.low, difference.high) == pytest.approx((low, high))
    assert difference.p == pytest.approx(2 * stats.t.sf(abs(difference.map) / error, 59))
    back = other.over(one)
    assert (back.low, back.high) == pytest.approx((-difference.high, -difference.low))
    assert back.above == pytest.approx(1 - difference.above)
    same = one.over(one)
    assert (same.map, same.low, same.high, same.above, same.p, same.units) == (0, 0, 0, 0, 1, 60)


def test_google_resamples_with_a_member_that_lacks_every_class():
    submissions, judgments = random_world(np.random.default_rng(0))
    part = submission_of({0: ["v000:0"], 1: ["v001:0"]})
    objective = Objective.of(
        {**submissions, "part": part, "elsewhere": submission_of({99: ["v000:0"]})}, Judgments(judgments), mode="google"
    )
    assert cross_validated_map(objective, repeats=2, evaluations=30).best_member > 0
    weights = {"elsewhere": 1.0, "part": 1.0, "x": 0.0, "y": 0.0}
    assert leave_one_out(objective, weights, 5.0) == {
        "elsewhere": 0.0,
        "part": objective.map(weights, 5.0),  # what is left has no class to count
    }
    _, maps = sensitivity(objective, weights, k=5.0, steps=3)["part"]
    assert maps == [0.0, objective.map(weights, 5.0), objective.map(weights, 5.0)]


def test_a_member_that_repeats_another_is_not_needed():
    submissions, judgments = random_world(np.random.default_rng(0))
    objective = Objective.of({**submissions, "z": submissions["y"]}, Judgments(judgments))
    gains = leave_one_out(objective, {"x": 2.0, "y": 1.0, "z": 0.0}, 5.0)
    assert gains["x"] == objective.map({"x": 2, "y": 1, "z": 0}, 5.0) - objective.map({"x": 0, "y": 1, "z": 0}, 5.0)
    assert gains.keys() == {"x", "y"}
    assert leave_one_out(objective, {"x": 1.0, "y": 0.0, "z": 0.0}, 5.0) == {}


def test_sensitivity_moves_one_share_and_keeps_the_ratios_of_the_others():
    submissions, judgments = random_world(np.random.default_rng(0))
    objective = Objective.of({**submissions, "z": submissions["y"]}, Judgments(judgments))
    shares, maps = sensitivity(objective, {"x": 2.0, "y": 1.0, "z": 1.0}, k=5.0, steps=5)["x"]
    assert shares == [0, 0.25, 0.5, 0.75, 1]
    assert maps[2] == objective.map({"x": 2, "y": 1, "z": 1}, 5.0)
    assert maps[4] == objective.map({"x": 1, "y": 0, "z": 0}, 5.0)


def test_shrinking_ends_at_equal_weights():
    assert shrink({"x": 3, "y": 1}, 0) == {"x": 0.75, "y": 0.25}
    assert shrink({"x": 3, "y": 1}, 0.5) == {"x": 0.625, "y": 0.375}
    assert shrink({"x": 3, "y": 1}, 1) == {"x": 0.5, "y": 0.5}


def test_classes_are_compared_by_the_paired_t_test():
    rng = np.random.default_rng(0)
    judged = {(c, f"d{i}"): int(rng.random() < 0.5) for c in range(12) for i in range(9)}
    bootstrap = Bootstrap(Judgments(judgments_of(judged)))
    lists = [submission_of({c: rng.permutation([f"d{i}" for i in range(9)]) for c in range(12)}) for _ in "xy"]
    one, other = (bootstrap.measure(*ranks_of_blocks([ranked], bootstrap.judgments)) for ranked in lists)
    expected = stats.ttest_rel(one.evaluation.per_class["ap"], other.evaluation.per_class["ap"])
    difference, interval = one.over(other), expected.confidence_interval()
    assert difference.p == pytest.approx(expected.pvalue)
    assert (difference.low, difference.high) == pytest.approx((interval.low, interval.high))
    assert (difference.units, difference.has_verdict) == (12, True)


def test_fewer_than_ten_units_give_no_verdict():
    judged = {(c, f"d{i}"): int(i == 0) for c in range(9) for i in range(3)}
    bootstrap = Bootstrap(Judgments(judgments_of(judged)))
    lists = [submission_of({c: ids for c in range(9)}) for ids in (["d0", "d1", "d2"], ["d2", "d1", "d0"])]
    one, other = (bootstrap.measure(*ranks_of_blocks([ranked], bootstrap.judgments)) for ranked in lists)
    difference = one.over(other)
    assert not difference.has_verdict
    assert (difference.low, difference.high, difference.p, difference.units) == (-1, 1, 1, 9)
    assert difference.map == pytest.approx(2 / 3)


def test_the_unit_is_known_and_not_guessed_from_a_colon():
    urls = judgments_of({(1, "https://a.org"): 1, (2, "http://b.org"): 0, (2, "http://c.org"): 1})
    segments = judgments_of({(1, "a:0"): 1, (2, "b:5"): 1})
    assert Judgments(urls).unit == "class"
    assert Judgments(segments).unit == "video"
    assert Judgments(segments, "class").unit == "class"
    assert Judgments(judgments_of({(1, "a:0"): 1, (2, "b:x"): 1})).unit == "class"
    with pytest.raises(ValueError, match="say --unit class"):
        Judgments(urls, "video")


def test_holm_is_that_of_statsmodels():
    """The values are those of statsmodels.stats.multitest.multipletests([...], method="holm")."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_a_small_p_is_not_printed_as_nothing() -> None:
    assert [p_text(p) for p in (0.2, 0.0123, 0.001, 0.0009, 0.0)] == ["0.200", "0.012", "0.001", "<0.001", "<0.001"]
