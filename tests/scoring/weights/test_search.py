from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from scoring.fusion.fusion import MEMBER_K, fuse
from scoring.measures.average_precision import Mode, mean_average_precision
from scoring.weights.climb import coordinate_ascent, limit
from scoring.weights.objective import Objective
from scoring.weights.search import DRAWN, LEAST, NEAR, Region, search
from scoring.weights.settings import SearchSettings
from scoring.weights.trial_log import TrialLog
from scoring.weights.trials import Trial
from tests.scoring.generated import judgments_of, submission_of
from videos.judgments import Judgments

POLISH = 40
TRIALS = 7 + DRAWN + 3  # warm starts, and of Ax those before and after its first model
LONG = SearchSettings(trials=TRIALS, seed=1, polish=POLISH)


def optimize(submissions, judgments, mode: Mode = "strict", **settings):
    return search(Objective.of(submissions, Judgments(judgments), mode=mode), SearchSettings(**settings))


@pytest.fixture(scope="module")
def world():
    """Three members of different strength over four classes, and judgments of a part of the segments."""
    rng = np.random.default_rng(0)
    ids = np.array([f"v{i:03}:{5 * j}" for i in range(40) for j in range(2)])
    strengths = {"good": 1.0, "fair": 0.5, "poor": 0.1}
    lists = {name: {} for name in strengths}
    relevance = {}
    for class_id in range(4):
        truth = rng.normal(size=len(ids))
        for name, strength in strengths.items():
            lists[name][class_id] = ids[np.argsort(-strength * truth - 0.5 * rng.normal(size=len(ids)))]
        relevance |= {(class_id, ids[i]): int(truth[i] > 0.8) for i in rng.choice(len(ids), 50, replace=False)}
    return {name: submission_of(ranked) for name, ranked in lists.items()}, judgments_of(relevance)


@pytest.fixture(scope="module")
def result(world):
    return optimize(*world, trials=TRIALS, seed=1)


@pytest.fixture(scope="module")
def polished(world):
    return optimize(*world, trials=TRIALS, seed=1, polish=POLISH)


@pytest.mark.frameworks
def test_is_the_best_trial_and_beats_equal_weights_and_members(world, result):
    submissions, judgments = world
    assert result.map == result.trials["map"].max() == result.trials["best"][-1]
    assert result.map >= result.equal_weights
    assert result.map >= max(result.members.values())
    assert result.best_member == "good"
    for name, submission in submissions.items():
        assert result.members[name] == mean_average_precision(submission, judgments).map
    assert result.equal_weights == mean_average_precision(fuse(submissions, None, MEMBER_K), judgments).map
    # The weights of the result give the same lists.
    assert mean_average_precision(fuse(submissions, result.weights, result.k), judgments).map == result.map


@pytest.mark.frameworks
def test_the_table_of_trials(result):
    trials = result.trials
    assert trials.columns == [
        "trial", "source", "weight/fair", "weight/good", "weight/poor", "k", "map", "best", "seconds"
    ]  # fmt: skip
    assert trials["source"].to_list() == ["member"] * 3 + ["warm"] * 7 + ["ax"] * (TRIALS - 7)
    assert trials["trial"].to_list() == list(range(3 + TRIALS))
    assert trials.select(pl.sum_horizontal("^weight/.*$")).to_series().to_numpy() == pytest.approx(np.ones(3 + TRIALS))
    assert trials["best"].is_sorted()


@pytest.mark.frameworks
def test_proposals_are_near_the_best_warm_start(world):
    """And they differ: a model that proposed its center again would learn nothing."""
    done = []
    search(Objective.of(world[0], Judgments(world[1])), SearchSettings(trials=TRIALS, seed=1), report=done.append)
    best = max((trial for trial in done if trial.source == "warm"), key=lambda trial: trial.map)
    proposed = [trial for trial in done if trial.source == "ax"]
    assert len({tuple(trial.weights.values()) for trial in proposed}) == len(proposed)
    for trial in proposed:
        for member, weight in trial.weights.items():
            if best.weights[member] > LEAST * max(best.weights.values()):
                assert 1 / NEAR - 1e-9 <= weight / best.weights[member] <= NEAR + 1e-9
            else:
                assert weight == best.weights[member]
        assert 1 / NEAR - 1e-9 <= trial.k / best.k <= NEAR + 1e-9


def test_a_region_leaves_out_members_with_next_to_no_weight():
    center = Trial("warm", {"a": 1.0, "none": 0.0, "little": LEAST / 2, "b": 0.5}, 900.0, 0.5, 0.0)
    region = Region.around(center)
    assert region.bounds == {"w0": (1 / NEAR, NEAR), "w1": (0.5 / NEAR, 0.5 * NEAR), "k": (900 / NEAR, 1000.0)}
    parameters = region.parameters(center)
    assert parameters is not None
    assert parameters == {"w0": 1.0, "w1": 0.5, "k": 900.0}
    assert region.weights_and_k(parameters) == (center.weights, center.k)
    for far in ({"a": 2.0}, {"little": 0.0}, {"none": 0.1}):
        assert region.parameters(replace(center, weights={**center.weights, **far})) is None
    assert region.parameters(replace(center, k=1.0)) is None


@pytest.mark.frameworks
def test_a_seed_repeats_the_search(world, result):
    again = optimize(*world, trials=TRIALS, seed=1)
    assert again.trials.drop("seconds").equals(result.trials.drop("seconds"))


@pytest.mark.parametrize("stop", [8, 12, 19, 24], ids=["warm starts", "Ax, drawn", "Ax, of a model", "polish"])
@pytest.mark.frameworks
def test_an_interrupted_search_resumes_with_the_same_trials(world, tmp_path, stop, polished):
    objective = Objective.of(world[0], Judgments(world[1]))

    class Stop(Exception):
        pass

    trial_log = TrialLog(tmp_path / "trials.jsonl", objective, seed=1)

    def stop_early(trial):
        trial_log(trial)
        if len(trial_log.path.read_text().splitlines()) == stop + 1:
            raise Stop

    with pytest.raises(Stop), trial_log:
        search(objective, LONG, report=stop_early)
    with trial_log.path.open("a") as file:
        file.write('{"source": "ax", "wei')  # interrupted while a trial was written
    again = TrialLog(trial_log.path, objective, seed=1)
    assert len(again.known) == stop
    with again:
        whole = search(objective, LONG, report=again, known=again.known)
    assert whole.trials.drop("seconds").equals(polished.trials.drop("seconds"))
    assert len(again.path.read_text().splitlines()) == 1 + whole.trials.height
    again.done()
    assert not trial_log.path.exists()
    assert TrialLog(trial_log.path, objective, seed=2).known == []


@pytest.mark.frameworks
def test_what_ax_tried_before_is_not_proposed_again(world):
    objective, done = Objective.of(world[0], Judgments(world[1])), []
    search(objective, SearchSettings(trials=TRIALS, seed=1), report=done.append)
    marked = [replace(trial, map=0.5) for trial in done if trial.source == "ax"]
    again = search(objective, SearchSettings(trials=TRIALS, seed=1), known=marked)
    assert again.trials.filter(source="ax")["map"].to_list() == [0.5] * (TRIALS - 7)


@pytest.mark.frameworks
def test_weights_that_are_all_0_are_equal_ones(world):
    objective, done = Objective.of(world[0], Judgments(world[1])), []
    search(objective, SearchSettings(trials=8, seed=1), report=done.append)
    zeros = replace(done[-1], weights=dict.fromkeys(objective.members, 0.0))
    trials = search(objective, SearchSettings(trials=8, seed=1), known=[zeros]).trials
    assert trials.filter(source="ax").select("^weight/.*$").row(0) == pytest.approx((1 / 3, 1 / 3, 1 / 3))


@pytest.mark.frameworks
def test_weights_that_are_all_0_can_be_polished(world):
    objective, done = Objective.of(world[0], Judgments(world[1])), []
    search(objective, SearchSettings(trials=8, seed=1), report=done.append)
    zeros = replace(done[-1], weights=dict.fromkeys(objective.members, 0.0), map=0.99)
    result = search(objective, SearchSettings(trials=8, seed=1, polish=200), known=[zeros])
    assert set(result.weights.values()) == {1 / 3}
    assert result.trials.filter(source="climb").height > 30


@pytest.mark.frameworks
def test_going_on_with_more_trials_after_a_polish_forgets_none(world, tmp_path):
    """The polish of the shorter search does not pass for the proposals of the longer one."""
    objective = Objective.of(world[0], Judgments(world[1]))
    first = TrialLog(tmp_path / "trials.jsonl", objective, seed=1)
    with first:
        search(objective, SearchSettings(trials=9, seed=1, polish=POLISH), report=first)
    second = TrialLog(first.path, objective, seed=1)

    def until(trial):
        second(trial)
        if trial.source == "ax" and (count.append(trial) or len(count)) == 4:
            raise KeyboardInterrupt

    count = []
    with pytest.raises(KeyboardInterrupt), second:
        search(objective, LONG, report=until, known=second.known)
    third = TrialLog(first.path, objective, seed=1)
    assert [trial for trial in third.known if trial.source == "ax"] == count


@pytest.mark.frameworks
def test_a_member_without_a_class_to_count_does_not_stop_the_search(world):
    submissions, judgments = world
    elsewhere = submission_of({99: ["v000:0"]})
    result = optimize({**submissions, "elsewhere": elsewhere}, judgments, trials=9, polish=60, mode="google")
    assert result.members["elsewhere"] == 0.0
    assert result.map >= result.equal_weights > 0
    fused = fuse({**submissions, "elsewhere": elsewhere}, result.weights, result.k)
    assert mean_average_precision(fused, judgments, mode="google").map == result.map
    with pytest.raises(ValueError, match="the members have none of the classes with positives"):
        optimize({"elsewhere": elsewhere}, judgments, mode="google")


@pytest.mark.frameworks
def test_the_limit_is_not_below_the_search(world, result):
    objective = Objective.of(world[0], Judgments(world[1]))
    start = Trial("ax", result.weights, result.k, result.map, 0.0)
    best = limit(objective, start, evaluations=1500, seed=0)
    assert best.map >= result.map
    assert objective.map(best.weights, best.k) == best.map
    assert limit(objective, start, evaluations=1500, seed=0).map == best.map


@pytest.mark.frameworks
def test_one_search_at_a_time_writes_a_file_of_trials(world, tmp_path):
    objective = Objective.of(world[0], Judgments(world[1]))
    settings = SearchSettings(trials=2)
    with TrialLog(tmp_path / "trials.jsonl", objective, seed=0) as first:
        search(objective, settings, report=first)
        before = first.path.read_bytes()
        with (
            pytest.raises(ValueError, match=r"another search is writing .*trials\.jsonl; wait until it ends"),
            TrialLog(first.path, objective, seed=0) as second,
        ):
            search(objective, settings, report=second)
        assert first.path.read_bytes() == before
    with TrialLog(first.path, objective, seed=0) as third:
        search(objective, settings, report=third)
        third.done()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.frameworks
def test_warm_starts_are_the_members_maps_to_three_powers(world, result):
    trials = result.trials.filter(source="warm")
    maps = np.array([result.members[member] for member in sorted(result.members)])
    for row, power in zip(range(1, 4), (1, 2, 4), strict=True):
        shares = trials.select("^weight/.*$").row(row)
        assert shares == pytest.approx(maps**power / (maps**power).sum())
        assert trials["k"][row] == MEMBER_K


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"trials": 0}, "--trials is 0"),
        ({"seed": -1}, "--seed is -1"),
        ({"polish": -1}, "--polish is -1"),
        ({"shrink": 0.3}, "--shrink is 0.3; choose 0"),
        ({"shrink": float("nan")}, "--shrink is nan"),
    ],
)
def test_settings_are_checked_when_they_are_made(values, complaint):
    with pytest.raises(ValueError, match=complaint):
        SearchSettings(**values)
    assert SearchSettings(trials=1, seed=0, polish=0, shrink=1).shrink == 1


def test_few_trials_are_warm_starts(world):
    few = optimize(*world, trials=2)
    assert few.trials["source"].to_list() == ["member"] * 3 + ["warm"] * 2


def test_one_member_needs_no_search(world):
    submissions, judgments = world
    alone = optimize({"good": submissions["good"]}, judgments)
    assert alone.weights == {"good": 1.0}
    assert alone.map == alone.equal_weights == alone.members["good"]
    assert "ax" not in alone.trials["source"]


@pytest.mark.frameworks
def test_members_that_find_nothing_do_not_stop_the_search():
    judgments = judgments_of({(1, "z:0"): 1})
    nothing = {name: submission_of({1: ["a:0"]}) for name in "xy"}
    assert optimize(nothing, judgments, trials=5).map == 0.0


def test_the_climb_only_climbs_and_stops_at_its_budget(world):
    objective = Objective.of(world[0], Judgments(world[1]))
    start = Trial("warm", dict.fromkeys(objective.members, 1.0), MEMBER_K, objective.map(None, MEMBER_K), 0.0)
    trials = list(coordinate_ascent(objective, start, evaluations=40))
    assert len(trials) == 40
    assert max(trial.map for trial in trials) > start.map
    assert all(objective.map(trial.weights, trial.k) == trial.map for trial in trials)
    polished = search(objective, SearchSettings(trials=1, polish=40))
    assert polished.map == polished.trials["map"].to_numpy().max() > start.map
