import numpy as np
import pytest

from scoring.fusion.fusion import fuse
from scoring.measures.average_precision import mean_average_precision
from scoring.weights.greedy import greedy_selection, never_selected
from scoring.weights.objective import Objective
from tests.scoring.generated import judgments_of, submission_of
from tests.scoring.measures.test_bootstrap import random_world
from videos.judgments import Judgments


def test_each_step_adds_the_member_that_helps_most():
    submissions, pairs = random_world(np.random.default_rng(0))
    rng = np.random.default_rng(1)
    ids = sorted(set(pairs["segment_id"]))
    submissions["noise"] = submission_of({c: list(rng.permutation(ids)) for c in range(5)})
    objective = Objective.of(submissions, Judgments(pairs))
    table = greedy_selection(objective, k=5.0)
    counts = dict.fromkeys(submissions, 0)
    before = 0.0
    for step, member, value, gain, share in table.iter_rows():
        maps = {}
        for name in submissions:
            trial = {**counts, name: counts[name] + 1}
            maps[name] = mean_average_precision(fuse(submissions, trial, 5.0), pairs).map
        assert value == pytest.approx(max(maps.values()))
        assert maps[member] == max(maps.values())
        counts[member] += 1
        assert gain == pytest.approx(value - before)
        assert share == counts[member] / step
        before = value
    assert table.height > 1
    assert (table["gain"] > 0).all()
    assert set(never_selected(table, objective.members)) == {name for name, count in counts.items() if not count}


def test_selection_ends_when_nothing_helps():
    lists = {"a": submission_of({1: ["x:0", "y:0"]}), "b": submission_of({1: ["y:0", "x:0"]})}
    objective = Objective.of(lists, Judgments(judgments_of({(1, "x:0"): 1, (1, "y:0"): 0})))
    assert greedy_selection(objective, k=5.0).rows() == [(1, "a", 1.0, 1.0, 1.0)]
