"""The video-level benchmark on a small set of records: its split, the evidence of its trees, its command and report."""

import string
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import video_level
from benchmarks.neighbours import Neighbours, scores
from tests.videos.records import example, write_shard
from tracking import metrics, runs
from training.member import Schedule
from videos.segments import segments_of
from videos.splits import is_held_out
from videos.store import FrameStore, open_frames

CLASSES = 6
WIDTHS = {"rgb": 1024, "audio": 128}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 videos: each class is a direction in both modalities, and each video has one or two of six classes."""
    rng = np.random.default_rng(0)
    directions = {name: rng.normal(size=(CLASSES, width)) for name, width in WIDTHS.items()}
    records = []
    for number in range(120):
        labels = sorted(rng.choice(CLASSES, rng.integers(1, 3), replace=False).tolist())
        means = {
            f"mean_{name}": (rows[labels].mean(0) + rng.normal(size=rows.shape[1])).tolist()
            for name, rows in directions.items()
        }
        letters = string.ascii_letters
        records.append(example({"id": f"{letters[number % 52]}{letters[number // 52]}aa", "labels": labels, **means}))
    folder = tmp_path_factory.mktemp("shards")
    write_shard(folder / "validate0000.tfrecord", records)
    return folder


@pytest.fixture(scope="module")
def frames(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    folder = tmp_path_factory.mktemp("frames") / "store"
    video_level.ingest_yt8m((str(shards / "*.tfrecord"),), folder)
    return video_level.of_whole_videos(open_frames(folder))


def test_held_out_videos_are_judged_on_every_class_of_theirs(frames):
    held = [is_held_out(video_id, video_level.HOLDOUT_PERCENT) for video_id in frames.videos["video_id"]]
    assert frames.videos["split"].to_list() == ["holdout" if is_held else "pretrain" for is_held in held]
    holdout = frames.split("holdout")
    assert len(segments_of(holdout, frames.dataset)) == len(holdout) > 10
    labels = {(c, f"{video}:0") for video, own in holdout.select("video_id", "classes").iter_rows() for c in own}
    assert len(frames.judgments) == len(holdout) * len({c for c, _ in labels})
    positive = frames.judgments.filter(frames.judgments["relevance"] > 0)
    assert set(positive.select("class_id", "segment_id").iter_rows()) == labels


def test_the_evidence_on_a_training_video_is_without_itself(frames):
    videos = frames.split("pretrain")
    vectors, labels = video_level.vectors_of(frames, videos), video_level.labels_of(frames, videos)
    neighbours = Neighbours(vectors, labels, frames.dataset.modalities)
    known = neighbours.candidates()
    for row in (0, 7, len(videos) - 1):
        others = np.arange(len(videos)) != row
        alone = Neighbours(vectors[others], labels[others], frames.dataset.modalities).candidates(vectors[[row]])
        own = np.flatnonzero(known.rows == row)
        # All but the number of a class's videos, which has the queried one.
        columns = [i for i, name in enumerate(neighbours.names()) if name != "videos"]
        found = dict(zip(known.classes[own].tolist(), known.features[own][:, columns], strict=True))
        expected = dict(zip(alone.classes.tolist(), alone.features[:, columns], strict=True))
        voted = [c for c in expected if expected[c][columns.index(5)] > 0]
        assert len(voted) > 2
        for class_id in voted:
            np.testing.assert_allclose(found[class_id], expected[class_id], rtol=1e-4, atol=1e-5)
    ranked = scores(known, np.full(len(known.rows), 0.5))
    assert set(np.unique(ranked[known.rows, known.classes])) == {0.5}
    assert (ranked[ranked != 0.5] < 0).all()


def test_the_mixture_scores_a_mean_vector():
    model = video_level.MixtureConfig().build({"rgb": 4, "audio": 2}, classes=5, window=1)
    probabilities = model(torch.rand(3, 1, 6))
    assert probabilities.shape == (3, 5)
    assert probabilities.max().item() < 0.02  # a class is rare before anything is learned
    assert model.scored(torch.tensor([4, 1]))(torch.ones(2, 1, 6)).shape == (2, 2)


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_the_command_trains_each_model_once_and_reports_it(shards, frames, tmp_path, monkeypatch):
    short = replace(
        video_level.PERCEPTRON, pretrain=Schedule(steps=20, evaluate_every=20, batch=32, learning_rate=3e-3)
    )
    few = replace(video_level.TREES, config=replace(video_level.TREES.config, rounds=50, min_data=5))
    monkeypatch.setattr(video_level, "MEMBERS", (short, few))
    target = tmp_path / "report.md"
    for _ in range(2):
        video_level.run(shards, seeds=2, out=frames.folder, target=target)
    trained = runs.find_runs(video_level.EXPERIMENT, True, stage="pretrain")
    assert sorted((run.tags[runs.LINEUP], run.tags[runs.MEMBER]) for run in trained) == [
        (f"video-level-seed{seed}", name) for seed in (0, 1) for name in ("boosted-neighbours", "perceptron")
    ]
    parents = runs.find_runs(video_level.EXPERIMENT, kind="member")
    maps = [parent.metrics[metrics.map_of(metrics.PRETRAINED)] for parent in parents]
    gaps = [parent.metrics[metrics.gap_of(metrics.PRETRAINED)] for parent in parents]
    assert min(maps) > 0.5  # six classes that are far apart
    assert min(gaps) > 0.3
    text = target.read_text()
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    models = [row[0].strip("| ") for row in rows if len(row) == 9]
    assert models[1:] == ["perceptron", "boosted-neighbours", video_level.AVERAGE]
    assert len([row for row in rows if " over " in row[0]]) == 3
