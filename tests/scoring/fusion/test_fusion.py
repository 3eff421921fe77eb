import math

import numpy as np
import polars as pl
import pytest
import ranx
from hypothesis import given
from hypothesis import strategies as st

from scoring.fusion.fusion import MEMBER_K, SHIFT_K, fuse, merge_shifts, shares_of
from scoring.fusion.workers import fuse_in_blocks
from scoring.lists.opening import read_submission
from scoring.lists.ranking import rank_scores
from scoring.lists.writing import write_submission
from tests.scoring.generated import ids_of, lists, submission_of

members = st.dictionaries(st.sampled_from(["bert", "boosted", "netvlad"]), lists, min_size=1)


def submissions_of(ranked):
    return {name: submission_of(member_lists) for name, member_lists in ranked.items()}


def test_by_hand():
    first = submission_of({1: ["a:0", "b:0", "c:0"]})
    second = submission_of({1: ["c:0", "d:0"]})
    # k = 1: first has share 1/4, second 3/4.
    # a: 1/4 * 1/2 = 0.125   b: 1/4 * 1/3 = 0.083   c: 1/4 * 1/4 + 3/4 * 1/2 = 0.4375   d: 3/4 * 1/3 = 0.25
    fused = fuse({"first": first, "second": second}, {"first": 1, "second": 3}, k=1)
    assert ids_of(fused) == {1: ["c:0", "d:0", "a:0", "b:0"]}
    assert ids_of(fuse({"first": first, "second": second}, {"first": 1, "second": 3}, k=1, cutoff=2)) == {
        1: ["c:0", "d:0"]
    }


def test_equal_scores_order_by_the_bytes_of_the_id():
    swapped = {"x": submission_of({1: ["é:0", "b:0"]}), "y": submission_of({1: ["b:0", "é:0"]})}
    assert ids_of(fuse(swapped, None, k=1)) == {1: ["b:0", "é:0"]}
    # "Z" comes before "a" as bytes, and a tie at the cutoff is resolved in the same way.
    tied = {"x": submission_of({1: ["a:0"]}), "y": submission_of({1: ["Z:0"]})}
    assert ids_of(fuse(tied, None, k=1, cutoff=1)) == {1: ["Z:0"]}


def test_a_member_without_weight_brings_nothing():
    pair = {"x": submission_of({1: ["a:0"]}), "y": submission_of({1: ["b:0"], 2: ["c:0"]})}
    assert ids_of(fuse(pair, {"x": 1, "y": 0}, k=1)) == {1: ["a:0"]}


def test_the_original_place_weight_is_this_k():
    # w0 / (i + w0) from position 0 orders as 1 / (k + rank) with k = w0 - 1.
    w0 = 6.058430980648939
    assert pytest.approx(w0 - 1) == MEMBER_K
    ranks = np.arange(1, 1000)
    original = w0 / (ranks - 1 + w0)
    assert np.allclose(original / w0, 1 / (MEMBER_K + ranks), rtol=1e-12)


@pytest.mark.parametrize(
    ("weights", "k", "complaint"),
    [
        ({"x": 1}, 1, "no weight for \\['y'\\]"),
        ({"x": 1, "y": 1, "z": 1}, 1, "no member for \\['z'\\]"),
        ({"x": -1, "y": 2}, 1, "weight of x is -1"),
        ({"x": math.nan, "y": 2}, 1, "weight of x is nan"),
        ({"x": math.inf, "y": 2}, 1, "weight of x is inf"),
        ({"x": 0, "y": 0}, 1, "sum to 0"),
        ({"x": 1e-320, "y": 1}, 1, "too small"),
        (None, -1, "k is -1"),
        (None, math.nan, "k is nan"),
    ],
)
def test_what_cannot_be_fused_is_refused(weights, k, complaint):
    pair = {"x": submission_of({1: ["a:0"]}), "y": submission_of({1: ["b:0"]})}
    with pytest.raises(ValueError, match=complaint):
        fuse(pair, weights, k)


def test_nothing_cannot_be_fused():
    with pytest.raises(ValueError, match="nothing to fuse"):
        fuse({}, None, 1)
    with pytest.raises(ValueError, match="nothing to merge"):
        merge_shifts([], by="score")


def reference(ranked, weights, k, top):
    """The original: a dictionary of strings per class."""
    shares = shares_of(weights, ranked)
    fused = {}
    for class_id in {class_id for name in shares for class_id in ranked[name]}:
        scores = {}
        for name, share in shares.items():
            for rank, segment in enumerate(ranked[name].get(class_id, []), start=1):
                scores[segment] = scores.get(segment, 0.0) + share / (k + rank)
        fused[class_id] = sorted(scores, key=lambda segment: (-scores[segment], segment.encode()))[:top]
    return fused


@given(members, st.data(), st.floats(-0.9, 100), st.integers(1, 12))
def test_equals_the_fusion_in_plain_python(ranked, data, k, top):
    weights = {name: data.draw(st.sampled_from([0, 0.1, 0.5, 1, 3])) for name in ranked}
    weights[min(ranked)] = 1
    fused = fuse(submissions_of(ranked), weights, k, top)
    assert ids_of(fused) == reference(ranked, weights, k, top)
    assert all(len(codes) == len(set(codes.tolist())) for _, codes in fused.ranked())
    blocks = list(fuse_in_blocks(submissions_of(ranked), weights=weights, k=k, cutoff=top))
    assert {c: ids for block in blocks for c, ids in ids_of(block).items()} == ids_of(fused)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=9))
def test_shares_are_their_own_shares(weights):
    shares = shares_of({f"{i}": weight for i, weight in enumerate(weights)}, map(str, range(len(weights))))
    assert math.fsum(shares.values()) == pytest.approx(1, abs=1e-12)
    assert shares_of(shares, shares) == shares


@given(lists, st.floats(-0.9, 100))
def test_one_list_fused_is_itself(ranked, k):
    assert ids_of(fuse({"x": submission_of(ranked)}, {"x": 7.0}, k)) == dict(sorted(ranked.items()))


@given(members, st.sampled_from([0.125, 2.0, 1024.0]))
def test_only_the_ratios_of_weights_matter(ranked, factor):
    weights = {name: 0.3 + i for i, name in enumerate(ranked)}
    scaled = {name: weight * factor for name, weight in weights.items()}
    submissions = submissions_of(ranked)
    assert fuse(submissions, weights, 1).lists.equals(fuse(submissions, scaled, 1).lists)


@given(members, st.floats(1e-6, 1e6))
def test_any_scale_of_weights_gives_the_same_order_but_for_equal_scores(ranked, factor):
    weights = {name: 0.3 + i for i, name in enumerate(ranked)}
    submissions = submissions_of(ranked)
    scaled = ids_of(fuse(submissions, {name: weight * factor for name, weight in weights.items()}, 1))
    for class_id, ids in ids_of(fuse(submissions, weights, 1)).items():
        assert set(ids) == set(scaled[class_id])
        scores = {
            segment: sum(
                weights[name] / (2 + member_lists[class_id].index(segment))
                for name, member_lists in ranked.items()
                if segment in member_lists.get(class_id, [])
            )
            for segment in ids
        }
        assert [scores[segment] for segment in scaled[class_id]] == pytest.approx([scores[i] for i in ids], rel=1e-12)


@given(members)
def test_the_order_of_members_does_not_matter(ranked):
    weights = {name: 0.3 + i for i, name in enumerate(ranked)}
    backwards = dict(reversed(submissions_of(ranked).items()))
    assert fuse(submissions_of(ranked), weights, 1).lists.equals(fuse(backwards, weights, 1).lists)


def test_merging_shifts_is_equal_weight_fusion_with_its_own_k():
    shifts = [submission_of({1: ["a:0", "b:0"]}), submission_of({1: ["b:0", "c:0"], 2: ["a:0"]})]
    expected = fuse({"0": shifts[0], "1": shifts[1]}, None, SHIFT_K)
    assert merge_shifts(shifts).lists.equals(expected.lists)


def test_merging_by_score_averages_probabilities():
    segments = pl.Series(["a:0", "b:0", "c:0"])
    first = rank_scores(np.array([[0.9], [0.5], [0.0]], dtype=np.float32), [1], segments)
    second = rank_scores(np.array([[0.2], [0.7], [0.0]], dtype=np.float32), [1], segments, cutoff=2)
    merged = merge_shifts([first, second], by="score")
    # b: (0.5 + 0.7) / 2 = 0.6   a: (0.9 + 0.2) / 2 = 0.55   c: (0 + not listed) / 2 = 0
    assert ids_of(merged) == {1: ["b:0", "a:0", "c:0"]}
    assert merged.lists["scores"][0].to_list() == pytest.approx([0.6, 0.55, 0.0])
    with pytest.raises(ValueError, match="needs predictions with scores"):
        merge_shifts([submission_of({1: ["a:0"]})], by="score")


@pytest.mark.parametrize("suffix", ["", ".parquet", ".csv"])
def test_files_fuse_as_memory_does(suffix, tmp_path):
    ranked = {"x": {1: ["a:0", "b:0"], 2: ["c:0"]}, "y": {1: ["b:0", "d:0"], 3: []}}
    submissions = submissions_of(ranked)
    for name, submission in submissions.items():
        write_submission(submission, tmp_path / f"{name}{suffix}")
    read = {name: read_submission(tmp_path / f"{name}{suffix}") for name in ranked}
    assert ids_of(fuse(read, None, MEMBER_K)) == ids_of(fuse(submissions, None, MEMBER_K))


def test_equals_ranx_on_the_seventeen_runs_of_robust03(real_data):
    paths = sorted((real_data / "trec" / "robust03").glob("input.*.gz"))
    assert len(paths) == 17
    topics = range(301, 700, 2)  # half of them: ranx takes its time
    submissions = {path.name: read_submission(path, "trec").read(topics) for path in paths}
    fused = ids_of(fuse(submissions, None, k=60))
    runs = [
        ranx.Run(
            {
                str(topic): {document: 1.0 / (1 + place) for place, document in enumerate(ids)}
                for topic, ids in ids_of(submission).items()
            }
        )
        for submission in submissions.values()
    ]
    expected = ranx.fuse(runs, norm=None, method="rrf", params={"k": 60}).to_dict()  # pyright: ignore[reportArgumentType]
    assert {str(topic) for topic in fused} == set(expected)
    assert len(fused) >= 40
    for topic, ids in fused.items():
        scores = expected[str(topic)]
        assert set(ids) == set(scores)
        theirs = np.array([scores[document] for document in ids])
        assert (np.diff(theirs) <= 1e-15).all()  # the same order, except for equal scores
