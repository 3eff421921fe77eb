"""The door of AudioSet, from features and strong labels to a frame store."""

import logging

import polars as pl
import pytest

from tests.videos.records import frames_of, sequence_example, splits, write_shard
from videos.ingest import ingest_audioset
from videos.segments import segments_of
from videos.store import open_frames

pytestmark = pytest.mark.frameworks  # TensorFlow writes and reads the shards


@pytest.fixture(autouse=True)
def _logged(caplog):
    caplog.set_level(logging.INFO)


@pytest.fixture
def audioset(tmp_path):
    """Features and strong labels of five clips; one of them stands in both partitions."""
    features, strong = tmp_path / "features", tmp_path / "features" / "strong"
    strong.mkdir(parents=True)

    def clip(video_id: str, frames: int) -> bytes:
        rows = [row.tobytes() for row in frames_of(video_id, frames, 128)]
        return sequence_example({"video_id": video_id, "labels": [1]}, {"audio_embedding": rows})

    write_shard(features / "bal_train-0.tfrecord", [clip("weak", 10), clip("tuned", 10), clip("again", 4)])
    write_shard(features / "eval-0.tfrecord", [clip("held", 5), clip("secret", 10), clip("again", 6)])
    (features / "class_labels_indices.csv").write_text('index,mid,display_name\n0,/m/0,Speech\n1,/m/1,"Dog, barking"\n')
    (strong / "classes.csv").write_text("source,event_label,class_id\nhome,Dog,1\n")
    header = "video_id\tonset\toffset\tevent_label\n"
    (strong / "home_train.tsv").write_text(header + "tuned\t0.0\t0.6\tDog\nnowhere\t0\t1\tDog\n")
    (strong / "home_holdout.tsv").write_text(header + "held\t2.0\t9.0\tDog\n")
    (strong / "test_clips.tsv").write_text("video_id\tsource\nsecret\thome\n")
    return features, strong


def test_audioset(audioset, tmp_path, caplog):
    features, strong = audioset
    done = ingest_audioset(features, strong, tmp_path / "store")
    assert splits(done.folder) == {
        "weak": "pretrain",
        "again": "pretrain",
        "tuned": "finetune",
        "held": "holdout",
        "secret": "test",
    }
    dataset, store = done.dataset, open_frames(done.folder)
    assert (dataset.name, dataset.modalities, dataset.dtype) == ("audioset", {"audio": 128}, "uint8")
    assert (dataset.segment_frames, dataset.partial_segments, dataset.max_frames, dataset.edge) == (
        2,
        False,
        10,
        "clamp",
    )
    assert (dataset.vocabulary, dataset.scored_classes) == (["Speech", "Dog, barking"], [1])
    expected = {"tuned:0": 1, "tuned:2": 0, "tuned:4": 0, "tuned:6": 0, "tuned:8": 0, "held:0": 0, "held:2": 1}
    assert dict(store.judgments.select("segment_id", "relevance").rows()) == expected
    assert store.videos.filter(pl.col("video_id") == "again")["frames"].to_list() == [4]
    assert "left out 1 annotated clip without features" in caplog.text
    assert not ingest_audioset(features, strong, tmp_path / "store").is_new


def test_real_audioset(real_data, tmp_path):
    done = ingest_audioset(real_data / "audioset", real_data / "audioset" / "strong", tmp_path / "store")
    assert done.videos == {"pretrain": 41105, "finetune": 707, "holdout": 354, "test": 365}
    assert sum(done.videos.values()) == 22_160 + 20_371
    assert (done.frames, done.note.skipped) == (422_709, 0)
    assert (done.dataset.classes, len(done.dataset.scored_classes)) == (527, 27)
    store = open_frames(done.folder)
    segments = segments_of(store.videos, store.dataset)
    judged = store.judgments.with_columns(video_id=pl.col("segment_id").str.head(11))
    classes = judged.group_by("video_id").agg(pl.col("class_id").n_unique(), pl.col("segment_id").n_unique())
    assert set(classes["class_id"]) == {10, 17}
    assert judged.join(segments, on="segment_id", how="anti").is_empty()
    assert set(judged["video_id"]).isdisjoint(store.split("test")["video_id"])
    # One clip by hand: speech from 4.798 to 6.0 s, and segments of 1.92 s from 3.84 and from 5.76 s.
    by_hand = judged.filter(pl.col("video_id") == "-0CamVQdP_Y", pl.col("relevance") == 1)
    assert by_hand.select("class_id", "segment_id").rows() == [(0, "-0CamVQdP_Y:4")]
