import gzip

import ir_measures
import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scoring.lists.judgments import read_judgments
from scoring.lists.opening import read_submission
from scoring.measures.average_precision import evaluate_ranks, mean_average_precision, ranks_of_blocks
from tests.scoring.generated import judged, judgments_of, lists, submission_of
from videos.judgments import Judgments

JUDGMENTS = judgments_of(
    {
        (1, "a:0"): 1,
        (1, "b:0"): 0,
        (1, "c:0"): 2,
        (1, "d:0"): 1,
        (2, "a:0"): 1,
        (3, "a:0"): 0,
        (4, "a:0"): 1,
    }
)
SUBMISSION = submission_of({1: ["u:0", "a:0", "b:0", "v:0", "c:0"], 2: [], 3: ["a:0"]})


def test_by_hand():
    evaluation = mean_average_precision(SUBMISSION, JUDGMENTS)
    # Class 1: a, b, c are judged; a is 1st of 1, c is 2nd of 3, d is not listed: (1/1 + 2/3) / 3 positives.
    # Class 2 lists nothing, class 3 has no positive, class 4 is not there.
    assert evaluation.per_class.rows() == [(1, (1 + 2 / 3) / 3, 3), (2, 0.0, 1), (4, 0.0, 1)]
    assert evaluation.map == pytest.approx(((1 + 2 / 3) / 3 + 0 + 0) / 3, abs=1e-15)
    assert (evaluation.classes, evaluation.positives, evaluation.judged, evaluation.retrieved) == (3, 5, 7, 4)


def test_google_leaves_out_the_classes_that_are_not_there():
    evaluation = mean_average_precision(SUBMISSION, JUDGMENTS, mode="google")
    assert evaluation.per_class["class_id"].to_list() == [1, 2]
    assert evaluation.map == pytest.approx((1 + 2 / 3) / 3 / 2, abs=1e-15)


def test_the_cut_comes_before_unjudged_segments_go():
    # u and v take two of the four places, so c is out.
    evaluation = mean_average_precision(SUBMISSION, JUDGMENTS, cutoff=4)
    assert evaluation.per_class["ap"][0] == (1 / 1) / 3
    assert evaluation.retrieved == 3


def test_the_last_judgment_of_a_pair_holds():
    twice = pl.concat([JUDGMENTS, judgments_of({(1, "a:0"): 0})])
    assert mean_average_precision(SUBMISSION, twice).per_class["ap"][0] == (1 / 3) / 2


def test_without_positives_there_is_no_map():
    with pytest.raises(ValueError, match="no positive"):
        mean_average_precision(SUBMISSION, judgments_of({(1, "a:0"): 0}))
    with pytest.raises(ValueError, match="none of the classes"):
        mean_average_precision(submission_of({9: ["a:0"]}), JUDGMENTS, mode="google")


def reference(ranked: dict[int, list[str]], relevance: dict[tuple[int, str], int], k: int, mode: str) -> float:
    """Google's evaluator as it is described, with a class that is missing counted as `mode` says."""
    scores = []
    for class_id in {class_id for (class_id, _), value in relevance.items() if value > 0}:
        if mode == "google" and class_id not in ranked:
            continue
        hits, total = 0, 0.0
        survivors = [s for s in ranked.get(class_id, [])[:k] if (class_id, s) in relevance]
        for position, segment in enumerate(survivors, start=1):
            if relevance[class_id, segment] > 0:
                hits += 1
                total += hits / position
        scores.append(total / sum(value > 0 for (c, _), value in relevance.items() if c == class_id))
    return float(np.mean(scores)) if scores else np.nan


@given(lists, judged, st.integers(1, 12), st.sampled_from(["strict", "google"]))
def test_equals_the_evaluator_in_plain_python(ranked, relevance, k, mode):
    expected = reference(ranked, relevance, k, mode)
    assume(not np.isnan(expected))
    evaluation = mean_average_precision(submission_of(ranked), judgments_of(relevance), cutoff=k, mode=mode)
    assert evaluation.map == pytest.approx(expected, abs=1e-12)
    assert evaluation.per_class["ap"].is_between(0, 1).all()
    blocks = [submission_of({class_id: ids}) for class_id, ids in ranked.items()]
    judged = Judgments(judgments_of(relevance))
    assert evaluate_ranks(*ranks_of_blocks(iter(blocks), judged, k), judged, mode).map == evaluation.map


@given(lists, judged)
def test_google_differs_only_by_the_missing_classes(ranked, relevance):
    positive = {class_id for (class_id, _), value in relevance.items() if value > 0}
    assume(positive & set(ranked))
    strict = mean_average_precision(submission_of(ranked), judgments_of(relevance)).per_class
    google = mean_average_precision(submission_of(ranked), judgments_of(relevance), mode="google").per_class
    missing = positive - set(ranked)
    assert google.equals(strict.filter(~pl.col("class_id").is_in(missing)))
    assert strict.filter(pl.col("class_id").is_in(missing))["ap"].sum() == 0


@given(lists, judged)
def test_is_one_exactly_when_the_judged_positives_come_first(ranked, relevance):
    assume(any(value > 0 for value in relevance.values()))
    evaluation = mean_average_precision(submission_of(ranked), judgments_of(relevance))
    for class_id, ap, positives in evaluation.per_class.iter_rows():
        relevant = [relevance[class_id, s] > 0 for s in ranked.get(class_id, []) if (class_id, s) in relevance]
        assert (ap == 1) == (sum(relevant[:positives]) == positives)


def test_equals_ir_measures_on_the_runs_of_robust03(real_data):
    folder = real_data / "trec" / "robust03"
    judgments = read_judgments(folder / "qrels.txt", "trec").pairs
    qrels = list(ir_measures.read_trec_qrels(str(folder / "qrels.txt")))
    measure = ir_measures.AP(judged_only=True)
    evaluator = ir_measures.evaluator([measure], qrels)
    paths = sorted(folder.glob("input.*.gz"))
    assert len(paths) == 17
    for path in paths:
        submission = read_submission(path, "trec")
        with gzip.open(path, "rt") as lines:  # the file itself: its order is checked too
            run = list(ir_measures.read_trec_run(lines))
        assert mean_average_precision(submission, judgments).map == pytest.approx(
            evaluator.calc_aggregate(run)[measure], abs=1e-9
        )
