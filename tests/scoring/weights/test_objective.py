import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scoring.fusion.fusion import fuse
from scoring.lists.opening import open_submission
from scoring.lists.ranked import share_segments
from scoring.lists.writing import write_submission
from scoring.measures.average_precision import mean_average_precision
from scoring.weights.cutoff import Cutoff
from scoring.weights.objective import Objective
from tests.scoring.generated import judged, judgments_of, lists, submission_of
from videos.judgments import Judgments

members = st.dictionaries(st.sampled_from(["bert", "boosted", "netvlad"]), lists, min_size=1)


@given(members, judged, st.data(), st.floats(-0.9, 100), st.integers(1, 12), st.sampled_from(["strict", "google"]))
def test_is_exactly_fusing_and_evaluating(ranked, relevance, data, k, cutoff, mode):
    positive_classes = {class_id for (class_id, _), value in relevance.items() if value > 0}
    assume(positive_classes)
    submissions = {name: submission_of(member_lists) for name, member_lists in ranked.items()}
    judgments = judgments_of(relevance)
    objective = Objective.of(submissions, Judgments(judgments), cutoff=cutoff, mode=mode)
    for _ in range(3):
        weights = {name: data.draw(st.floats(0, 1).filter(lambda w: w == 0 or w > 1e-6)) for name in ranked}
        weights[max(ranked)] = 1.0
        fused = fuse(submissions, weights, k, cutoff=cutoff)
        if mode == "google" and not positive_classes & set(fused.classes):
            with pytest.raises(ValueError, match="none of the classes"):
                objective.map(weights, k)
        else:
            expected = mean_average_precision(fused, judgments, cutoff=cutoff, mode=mode).map
            assert objective.map(weights, k) == expected  # to the last bit


def random_members(rng: np.random.Generator, segments: int, length: int, count: int = 4):
    """Members that agree to a degree, over one class; each lists a part of the segments."""
    ids = np.array([f"v{i:05}:{5 * (i % 7)}" for i in range(segments)])
    truth = rng.normal(size=segments)
    return ids, {
        f"m{number}": submission_of({1: ids[np.argsort(-truth - rng.normal(size=segments))[:length]]})
        for number in range(count)
    }


def test_is_exact_where_the_cut_bites():
    rng = np.random.default_rng(0)
    ids, submissions = random_members(rng, segments=600, length=300)
    relevance = {(1, segment): int(rng.random() < 0.4) for segment in rng.choice(ids, 200, replace=False)}
    judgments = judgments_of(relevance)
    for top in (50, 150, 300):
        objective = Objective.of(submissions, Judgments(judgments), cutoff=top)
        assert np.isfinite(objective.reach).all()
        for _ in range(20):
            weights = dict(zip(submissions, rng.dirichlet(np.ones(4)), strict=True))
            k = float(np.exp(rng.uniform(-2, 4)))
            expected = mean_average_precision(fuse(submissions, weights, k, top), judgments, cutoff=top).map
            assert objective.map(weights, k) == expected


def test_the_bound_settles_most_pairs(monkeypatch):
    _, submissions = random_members(np.random.default_rng(0), segments=600, length=300)
    fused = fuse(submissions, None, 5.0, 120)
    # The positives are what the members together rank first.
    judgments = judgments_of({(1, fused.segments[int(code)]): 1 for _, codes in fused.ranked() for code in codes})
    objective = Objective.of(submissions, Judgments(judgments), cutoff=200)
    asked = []

    def within(self, class_id, ids, scores, shares, k):
        asked.append(len(ids))
        return np.ones(len(ids), dtype=bool)

    monkeypatch.setattr(Cutoff, "within", within)
    objective.map(None, 5.0)
    assert 0 < sum(asked) < 60


def test_a_sample_decides_far_from_the_cut_and_all_segments_near_it(monkeypatch):
    rng = np.random.default_rng(2)
    ids, submissions = random_members(rng, segments=9000, length=5000)
    judgments = judgments_of({(1, segment): 1 for segment in rng.choice(ids, 60, replace=False)})
    monkeypatch.setattr("scoring.weights.cutoff.SAMPLES", (1024, 4096))
    counted = []
    count = Cutoff._ranks

    def ranks(self, class_id, ids, shares, k):
        counted.append(len(ids))
        return count(self, class_id, ids, shares, k)

    monkeypatch.setattr(Cutoff, "_ranks", ranks)
    objective = Objective.of(submissions, Judgments(judgments), cutoff=3000)
    vectors = rng.dirichlet(np.ones(4), size=6)
    ks = np.geomspace(0.5, 200, 6)
    for weights, k in zip(vectors, ks, strict=True):
        named = dict(zip(submissions, weights.tolist(), strict=True))
        fused = fuse(submissions, named, k, 3000)
        assert objective.map(named, k) == mean_average_precision(fused, judgments, cutoff=3000).map
    assert 0 < sum(counted) < 6 * 30


@pytest.mark.parametrize("crowded", [False, True], ids=["even classes", "one large class"])
def test_many_vectors_at_once_are_each_on_its_own(crowded):
    rng = np.random.default_rng(3)
    ids = [f"v{i:03}:0" for i in range(80)]
    submissions = {name: submission_of({c: rng.permutation(ids)[:60] for c in range(12)}) for name in "xyz"}
    judged_of = {
        c: ids if crowded and c == 5 else rng.choice(ids, 3 if crowded else 9, replace=False) for c in range(12)
    }
    judgments = judgments_of({(c, s): int(rng.random() < 0.5) for c, chosen in judged_of.items() for s in chosen})
    objective = Objective.of(submissions, Judgments(judgments), cutoff=50)
    weights, ks = rng.random((40, 3)), np.geomspace(0.1, 100, 40)
    one_by_one = [
        objective.map(dict(zip("xyz", row, strict=True)), k) for row, k in zip(weights.tolist(), ks, strict=True)
    ]
    assert objective.maps(weights, ks).tolist() == one_by_one
    first = fuse(submissions, dict(zip("xyz", weights[0], strict=True)), ks[0], 50)
    assert one_by_one[0] == mean_average_precision(first, judgments, cutoff=50).map


def test_reads_files_block_by_block(tmp_path):
    ranked = {"x": {c: ["a:0", "b:0", "c:0"] for c in range(40)}, "y": {c: ["c:0", "d:0"] for c in range(20, 50)}}
    relevance = {(c, segment): int(segment < "c") for c in range(45) for segment in ("a:0", "c:0", "d:0")}
    submissions = {name: submission_of(member_lists) for name, member_lists in ranked.items()}
    for name, submission in submissions.items():
        write_submission(submission, tmp_path / f"{name}.csv")
    sources = {name: open_submission(tmp_path / f"{name}.csv") for name in ranked}
    for cutoff in (2, 100):
        expected = Objective.of(submissions, Judgments(judgments_of(relevance)), cutoff=cutoff).map(None, 1.0)
        assert Objective.of(sources, Judgments(judgments_of(relevance)), cutoff=cutoff).map(None, 1.0) == expected


def test_restricting_is_judging_less():
    rng = np.random.default_rng(1)
    ids, submissions = random_members(rng, segments=60, length=40)
    relevance = {(1, segment): int(rng.random() < 0.4) for segment in ids[:30]}
    objective = Objective.of(submissions, Judgments(judgments_of(relevance)))
    keep = np.arange(len(objective.pairs)) % 2 == 0
    half = judgments_of({pair: value for i, (pair, value) in enumerate(sorted(relevance.items())) if i % 2 == 0})
    assert objective.restrict(keep).map(None, 5.0) == Objective.of(submissions, Judgments(half)).map(None, 5.0)
    with pytest.raises(ValueError, match="no positive"):
        objective.restrict(np.zeros(len(objective.pairs), dtype=bool))


@pytest.mark.parametrize("k", [-1.0, -1.5, float("nan"), float("inf")])
def test_refuses_the_k_that_fusing_refuses(k):
    objective = Objective.of({"x": submission_of({1: ["a:0"]})}, Judgments(judgments_of({(1, "a:0"): 1})))
    with pytest.raises(ValueError, match="k is"):
        objective.map(None, k)


def test_equal_scores_at_the_cut_are_ordered_by_id():
    """Two lists that say the opposite: both segments score the same, and the cutoff lets one of them through."""
    submissions = {"a": submission_of({1: ["x:0", "y:0"]}), "b": submission_of({1: ["y:0", "x:0"]})}
    for positive, expected in (("x:0", 1.0), ("y:0", 0.0)):
        judgments = judgments_of({(1, positive): 1})
        assert mean_average_precision(fuse(submissions, None, 5.0, 1), judgments, cutoff=1).map == expected
        assert Objective.of(submissions, Judgments(judgments), cutoff=1).map(None, 5.0) == expected


def test_one_member_is_cut_by_its_own_ranks():
    submissions = {"a": submission_of({1: ["x:0", "y:0", "z:0"]}), "b": submission_of({1: ["z:0", "w:0"]})}
    objective = Objective.of(submissions, Judgments(judgments_of({(1, "y:0"): 1, (1, "z:0"): 1})), cutoff=2)
    assert objective.map({"a": 1.0, "b": 0.0}, 5.0) == 0.5
    assert objective.map({"a": 0.0, "b": 1.0}, 5.0) == 0.5


@pytest.mark.parametrize("cutoff", [40, 500])
def test_at_most_the_cutoff_is_ranked_better_than_the_reach_by_any_member(cutoff):
    rng = np.random.default_rng(4)
    ids, submissions = random_members(rng, segments=1500, length=900)
    objective = Objective.of(submissions, Judgments(judgments_of({(1, ids[0]): 1})), cutoff=cutoff)
    ranked = [codes for submission in share_segments(list(submissions.values())) for _, codes in submission.ranked()]

    def better_than(rank: int) -> int:
        return len(np.unique(np.concatenate([codes[: rank - 1] for codes in ranked])))

    reach = int(objective.reach[0])
    assert better_than(reach) <= cutoff < better_than(reach + max(1, cutoff // 64))


def test_a_positive_right_at_the_bound_is_looked_at(monkeypatch):
    """Better than third are four segments, so that four are let through for certain up to there: not the third."""
    submissions = {name: submission_of({1: [f"{name}:0", f"{name}:1", "p:0", f"{name}:3"]}) for name in "ab"}
    asked = []

    def within(self, class_id, ids, scores, shares, k):
        asked.extend(ids)
        return np.ones(len(ids), dtype=bool)

    monkeypatch.setattr(Cutoff, "within", within)
    for cutoff, reach, looked_at in ((4, 3, ["p:0"]), (5, 4, [])):
        objective = Objective.of(submissions, Judgments(judgments_of({(1, "p:0"): 1})), cutoff=cutoff)
        assert objective.reach.tolist() == [reach]
        for k in np.geomspace(0.1, 1000, 20):
            asked.clear()
            objective.map(None, float(k))
            assert asked == looked_at


@pytest.mark.parametrize("cutoff", [900, 1500, 2500])
def test_the_sample_orders_equal_scores_as_the_full_count_does(cutoff):
    """With k of 1e20 all votes are equal: 1,000 segments share the best score, 2,000 the next one."""
    rng = np.random.default_rng(0)
    ids = np.array([f"v{i:04}:0" for i in range(3000)], dtype=object)
    listed = rng.permutation(ids)
    submissions = {"x": submission_of({1: listed[:2000]}), "y": submission_of({1: listed[1000:]})}
    fused = fuse(submissions, None, 1e20, cutoff)
    ((_, codes),) = fused.ranked()
    best = set(fused.segments.gather(codes).to_list())
    both = set(listed[1000:2000])
    scores = np.array([(1 + (segment in both)) * (0.5 / 1e20) for segment in ids])
    within = Cutoff(submissions, cutoff).within(1, ids, scores, np.array([0.5, 0.5]), 1e20)
    assert within.tolist() == [segment in best for segment in ids]
