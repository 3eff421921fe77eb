"""The booster's pairs and scores, read a block of videos at a time."""

import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import polars as pl
import pytest

from scoring.lists.ranking import rank_scores
from scoring.measures.average_precision import mean_average_precision
from tracking import metrics
from training.boosted import stage
from training.boosted.booster import BoostedEstimator
from training.boosted.folds import FoldModels
from training.boosted.stage import rank_pairs, read_pairs, score_all
from training.fit.checkpoints import Checkpoints
from training.job import Job
from training.members import member_of
from training.models.boosted import Evidence, candidates, features
from videos.store import FrameStore

SEGMENTS = 8  # of a video


def table(videos: int) -> pl.DataFrame:
    names = [f"v{video:04}" for video in range(videos) for _ in range(SEGMENTS)]
    starts = [5 * place for _ in range(videos) for place in range(SEGMENTS)]
    return pl.DataFrame({"video_id": names, "start": starts}).with_columns(
        segment_id=pl.concat_str("video_id", pl.lit(":"), pl.col("start").cast(pl.String).str.zfill(3))
    )


def evidence_of(classes: int):
    """What some members say of segments: a function of their ids, so that it is the same in any block."""

    def say(segments: pl.DataFrame) -> Evidence:
        said = [np.random.default_rng(list(name.encode())).random((2, classes, 3)) for name in segments["segment_id"]]
        said = np.stack(said, axis=1).astype(np.float32)
        return Evidence(
            scores=said[..., 0],
            resemblance=lambda rows, classes: said[0, rows, classes, 1:].T,
            video=segments["video_id"].rank("dense").to_numpy().astype(np.int64),
            start=segments["start"].to_numpy(),
            frames=np.full(len(segments), 5 * SEGMENTS),
            segment_frames=5,
        )

    return say


def some_pairs(videos: int, classes: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct pairs in no order; the last video has none."""
    rng = np.random.default_rng(0)
    chosen = rng.choice((videos - 1) * SEGMENTS * classes, count, replace=False)
    return chosen // classes, chosen % classes


def test_pairs_read_in_blocks_are_those_of_all_segments_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "SEGMENTS", 20)  # three videos
    segments, say = table(10), evidence_of(12)
    rows, classes = some_pairs(10, 12, 60)
    read = read_pairs(say, segments, rows, classes, count=4)
    dense = say(segments)
    np.testing.assert_array_equal(read.features, features(dense, rows, classes))
    np.testing.assert_array_equal(read.neural, dense.mean_scores[rows, classes])
    np.testing.assert_array_equal(read.is_candidate, candidates(dense, 4)[rows, classes])
    assert 0 < read.is_candidate.sum() < len(rows)


def likely(pairs: np.ndarray) -> np.ndarray:
    """A booster of sorts: between 0 and 1, and of another order than the neural scores."""
    return 1 / (1 + np.exp(pairs[:, 0] - pairs[:, -3]))


def test_validation_ranks_the_rated_pairs_as_dense_scores_do() -> None:
    segments, say, class_ids = table(10), evidence_of(12), [3 * place for place in range(12)]
    rows, classes = some_pairs(10, 12, 200)
    read = read_pairs(say, segments, rows, classes, count=4)
    scores = read.neural - 1
    scores[read.is_candidate] = likely(read.features[read.is_candidate])
    ids = segments["segment_id"]
    rated = pl.DataFrame(
        {
            "class_id": pl.Series(classes * 3, dtype=pl.UInt16),
            "segment_id": ids.gather(rows),
            "relevance": pl.Series(np.random.default_rng(2).integers(0, 2, len(rows)), dtype=pl.Int16),
        }
    )
    dense = rank_scores(score_all(say(segments), 4, likely), class_ids, ids)
    expected = mean_average_precision(dense, rated)
    found = mean_average_precision(rank_pairs(rows, classes, scores, class_ids, ids), rated)
    assert found.map == expected.map
    assert found.per_class.equals(expected.per_class)


def test_candidates_come_before_all_other_pairs() -> None:
    evidence = evidence_of(12)(table(5))
    scores, chosen = score_all(evidence, 4, likely), candidates(evidence, 4)
    rows, classes = np.nonzero(chosen)
    np.testing.assert_array_equal(scores[chosen], likely(features(evidence, rows, classes)).astype(np.float32))
    np.testing.assert_array_equal(scores[~chosen], evidence.mean_scores[~chosen] - 1)
    assert scores[~chosen].max() < 0 < scores[chosen].min()


def test_a_base_learns_for_the_steps_after_which_it_was_best(tmp_path: Path) -> None:
    Checkpoints(tmp_path / "checkpoint").write("bert-l2h12-mean", 12, {}, {}, 0.1)
    member = member_of("paper", "bert-l2h12-mean")
    start, tuned = (
        SimpleNamespace(artifact=lambda name: tmp_path / name, metrics={metrics.CHOSEN_STEP: float(step)})
        for step in (12, 15)
    )
    own = SimpleNamespace(member=member, estimator=None, pretrained=lambda: start, finetuned=lambda: tuned)
    own.first, own.chosen_steps = own, lambda: Job.chosen_steps(cast(Job, own))
    job = SimpleNamespace(for_member={member.name: own}.get)
    assert stage._base(cast(Job, job), member.name).steps == 3


def test_validation_is_of_all_rounds_so_far_and_not_of_the_best(tiny: FrameStore) -> None:
    """Each block is judged by what it adds: with the best rounds alone a block that is better would never show."""
    job, asked = Job(lineup="demo", member=member_of("demo", "boosted"), store=tiny), []

    def predict(pairs: np.ndarray, rounds: int | None = None) -> np.ndarray:
        asked.append(rounds)
        return np.linspace(0, 1, len(pairs), dtype=np.float32)

    estimator = SimpleNamespace(rounds=25, best=25, predict=predict)
    models = SimpleNamespace(evidence=evidence_of(len(tiny.dataset.scored_classes)))
    validate = stage._holdout(job, cast(FoldModels, models), cast(BoostedEstimator, estimator))
    for estimator.rounds in (25, 50, 75):
        assert validate() is not None
    assert asked == [25, 50, 75]


def test_memory_does_not_grow_with_the_videos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "SEGMENTS", 10 * SEGMENTS)

    def peak(videos: int) -> int:
        segments, (rows, classes) = table(videos), some_pairs(videos, 50, 100)
        tracemalloc.start()
        read_pairs(evidence_of(50), segments, rows, classes, count=5)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(160) < 1.3 * peak(20)
