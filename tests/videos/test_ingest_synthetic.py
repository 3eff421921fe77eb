"""The door of the generated world."""

import pytest

from videos.ingest import ingest_synthetic, ingest_yt8m
from videos.store import open_frames

pytestmark = pytest.mark.frameworks  # TensorFlow writes and reads the shards


def test_synthetic(tmp_path, caplog):
    done = ingest_synthetic(tmp_path / "one", videos=80, classes=10, jobs=1)
    store = open_frames(done.folder)
    assert sum(done.videos.values()) == 80
    assert done.videos["test"] == 8
    assert min(done.videos.values()) > 0
    assert (done.dataset.name, done.dataset.modalities, done.dataset.dtype) == (
        "synthetic",
        {"rgb": 96, "audio": 48},
        "uint8",
    )
    assert (done.dataset.classes, len(done.dataset.scored_classes)) == (10, 6)
    assert set(store.judgments["class_id"]) <= set(done.dataset.scored_classes)
    assert store.videos["frames"].is_between(40, 120).all()
    assert not ingest_synthetic(tmp_path / "one", videos=80, classes=10).is_new
    with pytest.raises(ValueError, match="--force"):
        ingest_synthetic(tmp_path / "one", videos=80, classes=10, seed=1)
    again = ingest_synthetic(tmp_path / "two", videos=80, classes=10, jobs=1)
    other = ingest_synthetic(tmp_path / "two", videos=80, classes=10, seed=1, force=True, jobs=1)
    assert again.dataset.digest == done.dataset.digest != other.dataset.digest


@pytest.mark.parametrize("percent", [0, 100])
def test_a_share_that_leaves_nothing_to_learn_from_or_to_measure_on_is_refused(tmp_path, percent):
    with pytest.raises(ValueError, match=f"--holdout is {percent}; give a percentage from 1 to 99"):
        ingest_synthetic(tmp_path / "one", holdout=percent)


def test_generated_shards_go_through_the_same_door(tmp_path):
    done = ingest_synthetic(tmp_path / "one", videos=40, classes=10, holdout=8, jobs=1)
    shards = open_frames(done.folder).content / "shards"
    by_hand = ingest_yt8m(
        (str(shards / "train*.tfrecord"),),
        tmp_path / "two",
        test_shards=(str(shards / "test*.tfrecord"),),
        vocabulary=shards / "vocabulary.csv",
        segment_classes=shards / "segment_classes.csv",
        modalities={"rgb": 96, "audio": 48},
    )
    one, other = open_frames(done.folder), open_frames(by_hand.folder)
    assert one.videos.equals(other.videos)
    assert one.judgments.equals(other.judgments)
    # What YouTube-8M leaves unrated is rated here, so ingest notices that the generated places are others.
    assert (one.dataset.unrated_ends, other.dataset.unrated_ends) == ((1, 1), (0, 0))
