import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scoring.fusion.fusion import fuse
from scoring.measures.average_precision import mean_average_precision, ranks_of_blocks
from scoring.weights.judged_pairs import judged_pairs, members_of, objective_of
from scoring.weights.objective import Objective
from tests.scoring.generated import judged, judgments_of, lists, submission_of
from tests.scoring.weights.test_objective import random_members
from videos.judgments import Judgments

NONE = pl.DataFrame(schema={"class_id": pl.UInt16, "segment_id": pl.String, "rank": pl.UInt32})
members = st.dictionaries(st.sampled_from(["bert", "boosted", "netvlad"]), lists, min_size=1)


@given(members, judged, st.data(), st.floats(-0.9, 100))
def test_the_table_gives_the_map_of_the_lists(ranked, relevance, data, k):
    assume(any(value > 0 for value in relevance.values()))
    submissions = {name: submission_of(member_lists) for name, member_lists in ranked.items()}
    judgments = Judgments(judgments_of(relevance))
    table = judged_pairs(Objective.of(submissions, judgments), NONE)
    assert members_of(table) == sorted(ranked)
    weights = {name: data.draw(st.floats(0.01, 1)) for name in ranked}
    expected = mean_average_precision(fuse(submissions, weights, k), judgments.pairs).map
    assert objective_of(table, judgments.unit).map(weights, k) == expected


def test_the_table_has_the_ranks_and_nothing_unjudged():
    submissions = {"a": submission_of({1: ["x:0", "y:0", "z:0"]}), "b": submission_of({1: ["z:0"], 2: ["y:0"]})}
    judgments = Judgments(judgments_of({(1, "x:0"): 1, (1, "z:0"): 0, (2, "x:0"): 0}))
    fused = ranks_of_blocks([fuse(submissions, None, 5.0)], judgments)[0]
    table = judged_pairs(Objective.of(submissions, judgments), fused)
    assert table.rows() == [(1, "x:0", 1, None, 2, 1, None), (1, "z:0", 0, None, 1, 3, 1)]
    assert table.columns == ["class_id", "segment_id", "relevance", "reach", "rank", "rank/a", "rank/b"]


def test_doubtful_positives_give_bounds_of_map(monkeypatch: pytest.MonkeyPatch):
    """The table leaves open which positives are beyond the cutoff; the exact MAP is between both assumptions."""
    rng = np.random.default_rng(0)
    ids, submissions = random_members(rng, segments=600, length=300)
    judgments = Judgments(judgments_of({(1, i): int(rng.random() < 0.4) for i in rng.choice(ids, 200, replace=False)}))
    exact = Objective.of(submissions, judgments, cutoff=150)
    table = judged_pairs(exact, NONE)
    assert table["reach"].is_not_null().all()
    monkeypatch.setattr("scoring.weights.judged_pairs.K", 150)
    upper, lower = objective_of(table), objective_of(table, doubtful_count=False)
    apart = 0
    for _ in range(20):
        weights = dict(zip(submissions, rng.dirichlet(np.ones(4)), strict=True))
        low, value, high = (objective.map(weights, 5.0) for objective in (lower, exact, upper))
        assert low <= value <= high
        apart += low < high
    assert apart
