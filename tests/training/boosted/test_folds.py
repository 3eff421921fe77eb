"""Neural scores and class means that have not seen the video they speak of."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.training.conftest import briefly
from training.boosted.folds import Base, FoldModels, fit_folds, fold_predictors, rated_pairs
from training.fit.checkpoints import Checkpoints
from training.job import Job
from training.members import member_of
from training.models.boosted import Evidence
from training.windows.examples import LabelMask, SegmentExamples
from training.windows.segments import SegmentWindows
from videos.segments import segments_of, video_blocks
from videos.splits import fold_of
from videos.store import FrameStore

FOLDS = 3


@pytest.fixture(scope="module")
def base() -> object:
    return briefly(member_of("paper", "bert-l2h12-mean"))


def models_of(store: FrameStore, member, folder: Path) -> FoldModels:
    job = Job(lineup="demo", member=member, store=store)
    bases = [Base(member, job.estimator, None, steps=3)]
    fit_folds(bases[0], store, FOLDS, folder, "test")
    models = fold_predictors(bases[0], store.dataset, FOLDS, folder)
    return FoldModels(store, [(member, models)], FOLDS, folder)


def flipped(store: FrameStore, videos: list[str]) -> FrameStore:
    """The store with all ratings of `videos` turned round."""
    theirs = pl.col("segment_id").str.split(":").list.first().is_in(videos)
    turned = pl.when(theirs).then(1 - pl.col("relevance")).otherwise(pl.col("relevance")).cast(pl.Int16)
    return replace(store, judgments=store.judgments.with_columns(relevance=turned))


def resemblance(evidence: Evidence) -> np.ndarray:
    """Of all pairs (R, N, S)."""
    _, segments, classes = evidence.scores.shape
    rows, columns = np.divmod(np.arange(segments * classes), classes)
    return evidence.resemblance(rows, columns).reshape(-1, segments, classes)


def test_a_video_s_own_ratings_change_nothing_said_of_it(tiny: FrameStore, base, tmp_path: Path) -> None:
    """The planted leak: were a rated video's ratings used in its own features, turning them round would show."""
    rated = tiny.split("finetune")["video_id"].to_list()
    fold = [video for video in rated if fold_of(video, FOLDS) == 0]
    segments = segments_of(tiny.split("finetune"), tiny.dataset)
    own = segments["video_id"].is_in(fold).to_numpy()
    assert own.any()
    assert not own.all()
    honest = models_of(tiny, base, tmp_path / "honest").evidence(segments)
    turned = models_of(flipped(tiny, fold), base, tmp_path / "turned").evidence(segments)
    assert np.array_equal(honest.scores[:, own], turned.scores[:, own])
    assert np.array_equal(resemblance(honest)[:, own], resemblance(turned)[:, own])
    # The test can fail: what is said of the other folds does change.
    assert not np.allclose(honest.scores[:, ~own], turned.scores[:, ~own])
    assert not np.allclose(resemblance(honest)[:, ~own], resemblance(turned)[:, ~own])


def test_a_fold_that_was_stopped_goes_on_from_its_checkpoint(
    tiny: FrameStore, base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.fit.torch import TorchEstimator

    whole = Base(base, Job(lineup="demo", member=base, store=tiny).estimator, None, steps=8)  # a checkpoint every 3
    fit_folds(whole, tiny, FOLDS, tmp_path / "whole", "test")
    plain, taken = TorchEstimator.train_step, []

    def stopping(self, batch, rate):
        taken.append(self.step)
        if len(taken) == 8 + 6:  # in the second fold, after the checkpoint at step 3
            raise KeyboardInterrupt
        return plain(self, batch, rate)

    monkeypatch.setattr(TorchEstimator, "train_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        fit_folds(whole, tiny, FOLDS, tmp_path / "stopped", "test")
    taken.clear()
    monkeypatch.setattr(TorchEstimator, "train_step", lambda *a: taken.append(a[0].step) or plain(*a))
    fit_folds(whole, tiny, FOLDS, tmp_path / "stopped", "test")
    assert taken == [*range(3, 8), *range(8)]  # the rest of the second fold, and the third
    assert content(tmp_path / "stopped") == content(tmp_path / "whole")


def test_a_fold_starts_from_the_pre_trained_weights(tiny: FrameStore, base, tmp_path: Path) -> None:
    estimator = Job(lineup="demo", member=base, store=tiny).estimator()
    for seed in range(2):
        batch = SegmentExamples(tiny, base.sampler, "none").batch(np.arange(8), np.random.default_rng(seed))
        estimator.train_step(batch, 1e-3)
    pretrained = Checkpoints(tmp_path / "pretrained")
    pretrained.write(base.name, estimator.step, estimator.weights(), estimator.moments(), None)
    fit_folds(
        Base(base, Job(lineup="demo", member=base, store=tiny).estimator, pretrained, steps=0),
        tiny,
        FOLDS,
        tmp_path,
        "test",
    )
    kept = {name: stored for name, stored in content(pretrained.folder).items() if "moments" not in name}
    assert any("weights" in name for name in kept)
    for fold in range(FOLDS):
        assert content(tmp_path / f"{base.name}-fold{fold}") == kept


@pytest.mark.parametrize("label_mask", ["rated", "rated+mined"])
def test_a_fold_learns_from_the_others_videos_with_the_member_s_label_mask_and_options(
    tiny: FrameStore, base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, label_mask: LabelMask
) -> None:
    given = []

    def noting(store, sampler, mask, *, videos, **options) -> SegmentExamples:
        given.append((sampler, mask, videos, options))
        return SegmentExamples(store, sampler, mask, videos=videos, **options)

    monkeypatch.setattr("training.member.SegmentExamples", noting)
    options = {"share": 0.9, "varied": 0.5, "consistency": 0.25}
    masked = replace(base, finetune=replace(base.finetune, label_mask=label_mask, **options))
    fit_folds(
        Base(masked, Job(lineup="demo", member=masked, store=tiny).estimator, None, steps=0),
        tiny,
        FOLDS,
        tmp_path,
        "test",
    )
    rated = tiny.split("finetune")["video_id"].to_list()
    others = [[video for video in rated if fold_of(video, FOLDS) != fold] for fold in range(FOLDS)]
    assert given == [(base.sampler, label_mask, videos, options) for videos in others]


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_holdout_ratings_change_nothing_at_all(tiny: FrameStore, base, tmp_path: Path) -> None:
    held = tiny.split("holdout")["video_id"].to_list()
    assert not flipped(tiny, held).judgments.equals(tiny.judgments)
    segments = segments_of(tiny.videos.filter(pl.col("split").is_in(["finetune", "holdout"])), tiny.dataset)
    honest = models_of(tiny, base, tmp_path / "honest").evidence(segments)
    turned = models_of(flipped(tiny, held), base, tmp_path / "turned").evidence(segments)
    assert np.array_equal(honest.scores, turned.scores)
    assert np.array_equal(resemblance(honest), resemblance(turned))


def test_a_rated_video_is_scored_by_its_fold_s_model_and_any_other_by_all(
    tiny: FrameStore, base, tmp_path: Path
) -> None:
    models = models_of(tiny, base, tmp_path)
    for split in ("finetune", "holdout"):
        segments = segments_of(tiny.split(split), tiny.dataset)
        windows = SegmentWindows(tiny, segments, base.sampler)
        single = [np.concatenate([p(block) for block in windows.blocks(0)]) for p in models._bases[0][1]]
        expected = np.mean(single, axis=0)
        if split == "finetune":
            fold = [fold_of(video, FOLDS) for video in segments["video_id"]]
            expected = np.stack([single[f][row] for row, f in enumerate(fold)])
        assert np.allclose(models.evidence(segments).scores[0], expected, atol=1e-6)


@pytest.mark.parametrize("split", ["finetune", "holdout"])
def test_evidence_in_blocks_is_that_of_all_videos_at_once(tiny: FrameStore, base, tmp_path: Path, split: str) -> None:
    segments, models = segments_of(tiny.split(split), tiny.dataset), models_of(tiny, base, tmp_path)
    whole, blocks = models.evidence(segments), list(video_blocks(segments, 10))
    assert len(blocks) > 1
    for entries in blocks:
        part = models.evidence(segments[entries])
        np.testing.assert_allclose(part.scores, whole.scores[:, entries], atol=1e-6)
        np.testing.assert_array_equal(resemblance(part), resemblance(whole)[:, entries])
        np.testing.assert_array_equal(part.start / part.frames, (whole.start / whole.frames)[entries])


def test_resemblance_is_the_cosine_with_the_means_of_a_class(tiny: FrameStore, base, tmp_path: Path) -> None:
    """Of single pairs in any order, computed plainly in double precision."""
    models = models_of(tiny, base, tmp_path)
    segments = segments_of(tiny.videos.filter(pl.col("split").is_in(["finetune", "holdout"])), tiny.dataset)
    rng = np.random.default_rng(0)
    rows, classes = rng.integers(len(segments), size=200), rng.integers(len(models._columns), size=200)
    means = models._segment_means(segments).astype(np.float64)

    def cosine(one: np.ndarray, other: np.ndarray) -> float:
        return float(one @ other / max(np.linalg.norm(one), 1e-6) / max(np.linalg.norm(other), 1e-6))

    def plainly(row: int, column: int) -> list[float]:
        video = segments["video_id"][row]
        rated = video in tiny.split("finetune")["video_id"].to_list()
        folds = [fold_of(video, FOLDS)] if rated else range(FOLDS)
        values, first = [], 0
        for width in tiny.dataset.modalities.values():
            part = slice(first, first + width)
            first += width
            for kind in (0, 1):
                own = [cosine(means[row, part], models.means[f][column, kind, part].astype(float)) for f in folds]
                values.append(sum(own) / len(own))
        return values

    expected = np.array([plainly(row, column) for row, column in zip(rows.tolist(), classes.tolist(), strict=True)])
    np.testing.assert_allclose(models.evidence(segments).resemblance(rows, classes).T, expected, atol=1e-6)


def test_folds_are_even_and_do_not_follow_the_holdout_rule() -> None:
    folds = [fold_of(f"video{i}", 5) for i in range(5000)]
    counts = np.bincount(folds, minlength=5)
    assert counts.min() > 900


def test_blocks_end_where_videos_end() -> None:
    segments = pl.DataFrame({"video_id": ["a", "a", "b", "b", "b", "c"]})
    assert [block.tolist() for block in video_blocks(segments, 2)] == [[0, 1], [2, 3, 4], [5]]
    assert [block.tolist() for block in video_blocks(segments, 100)] == [[0, 1, 2, 3, 4, 5]]
    assert list(video_blocks(segments.head(0), 2)) == []


def test_mined_negatives_are_neither_labelled_nor_rated(tiny: FrameStore) -> None:
    """All that are left are drawn, of a store where a scored label is not rated and a rated class is no label."""
    scored, first = tiny.dataset.scored_classes, tiny.split("finetune")["video_id"][0]
    labelled, rated = scored[0], scored[1]
    named = pl.when(pl.col("video_id") == first).then(pl.lit([labelled], pl.List(pl.Int64))).otherwise("classes")
    judged = pl.DataFrame({"class_id": [rated], "segment_id": [f"{first}:5"], "relevance": [1]}, strict=False)
    store = replace(
        tiny,
        videos=tiny.videos.with_columns(classes=named.cast(tiny.videos.schema["classes"])),
        judgments=judged.cast(tiny.judgments.schema),
    )
    segments = segments_of(store.split("finetune"), store.dataset)
    rows, classes, labels = rated_pairs(store, "finetune", segments, mined=len(scored), seed=0)
    assert set(segments["segment_id"].gather(rows)) == {f"{first}:5"}
    assert (classes[0], labels.tolist()) == (1, [1, 0, 0])
    assert sorted(classes[1:].tolist()) == [2, 3]
