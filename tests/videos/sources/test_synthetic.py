"""The generated world: the same from the same seed, and as its docstring says."""

import numpy as np
import pytest

from tests.videos.sources.observers import observe
from videos.sources import synthetic
from videos.sources.records import Record
from videos.sources.synthetic import MODALITIES, make_scene, make_world
from videos.sources.yt8m import YouTube8MReader

WORLD = make_world(40, seed=0)
SCENES = [make_scene(WORLD, number, is_rated=True) for number in range(150)]


def test_the_seed_and_the_number_make_the_scene():
    again, other_video = make_scene(make_world(40, 0), 3, True), make_scene(WORLD, 4, True)
    other_world = make_scene(make_world(40, 1), 3, True)
    for name in MODALITIES:
        np.testing.assert_array_equal(again.features[name], SCENES[3].features[name])
    assert (again.labels, again.ratings) == (SCENES[3].labels, SCENES[3].ratings)
    assert not np.array_equal(other_video.features["rgb"][:40], again.features["rgb"][:40])
    assert not np.array_equal(other_world.features["rgb"][:40], again.features["rgb"][:40])


def test_whether_a_video_is_rated_changes_nothing_else():
    unrated = make_scene(WORLD, 3, is_rated=False)
    assert unrated.ratings == []
    np.testing.assert_array_equal(unrated.features["audio"], SCENES[3].features["audio"])


def test_features_use_the_levels_without_being_cut_off():
    for name, width in MODALITIES.items():
        values = np.concatenate([scene.features[name] for scene in SCENES])
        assert values.shape[1] == width
        assert values.dtype == np.uint8
        assert abs(values.mean() - 127) < 3  # dequantised: about 0
        assert 45 < values.std() < 60  # dequantised: about 0.8
        assert np.isin(values, [0, 255]).mean() < 0.02


def test_classes_come_and_go_off_the_grid_of_segments():
    presence = np.concatenate([np.pad(scene.presence, ((1, 1), (0, 0))) for scene in SCENES])
    assert presence.min() == 0
    assert presence.max() == 1
    assert ((presence > 0) & (presence < 1)).any(0).all()  # slopes, for each class
    begins = np.concatenate([np.flatnonzero(np.diff((scene.presence > 0.5).any(1))) + 1 for scene in SCENES])
    assert (np.bincount(begins % 5, minlength=5) / len(begins)).min() > 0.1


def test_labels_are_noisy_and_there():
    occurs = np.array([(scene.presence > 0.5).any(0) for scene in SCENES])
    labelled = np.array([np.isin(np.arange(40), scene.labels) for scene in SCENES])
    assert labelled.any(1).all()
    assert 0.8 < labelled[occurs].mean() < 0.97
    assert 0.02 < 1 - occurs[labelled].mean() < 0.25


def test_ratings_are_about_scored_labels_of_inner_segments():
    for scene in SCENES:
        frames = len(scene.presence)
        classes = {class_id for _, class_id, _ in scene.ratings}
        assert classes <= set(scene.labels) & set(WORLD.scored)
        assert len(classes) <= synthetic.MOST_RATED_CLASSES
        assert len(scene.ratings) == 5 * len(classes)
        assert all(start % 5 == 0 and 5 <= start <= frames - 10 for start, _, _ in scene.ratings)


def test_ratings_tell_presence_with_few_errors_and_a_base_rate_of_a_third():
    rows = [
        (scene.presence[start : start + 5, class_id].mean() >= 0.5, relevance)
        for scene in SCENES
        for start, class_id, relevance in scene.ratings
    ]
    is_there, relevant = np.array(rows).T
    assert 0.01 < (is_there != relevant).mean() < 0.06
    assert 0.27 < relevant.mean() < 0.45


def test_some_classes_are_seen_and_some_heard():
    def strength(name):
        return np.linalg.norm(WORLD.signatures[name], axis=-1).mean(-1)

    is_visible = np.array([name.startswith("visible") for name in WORLD.names])
    is_audible = np.array([name.startswith("audible") for name in WORLD.names])
    assert is_visible.sum() >= 10 <= is_audible.sum()
    assert (strength("rgb")[is_visible] > 2 * strength("audio")[is_visible]).all()
    assert (strength("audio")[is_audible] > 2 * strength("rgb")[is_audible]).all()


def test_classes_differ_in_how_often_they_occur():
    frequency = np.sort(WORLD.topics @ WORLD.occurrence)
    assert frequency[-1] > 4 * frequency[0]
    assert len(WORLD.scored) == 24


def test_every_stage_can_improve_the_result_in_every_world():
    worlds = [observe(seed) for seed in range(3)]
    for maps in worlds:
        assert maps.labels > 0.4
        assert maps.labels + 0.05 < maps.ratings
        assert maps.ratings + 0.015 < maps.merged < 0.9
        assert max(maps.visual, maps.audible) + 0.03 < maps.fused
    # In one world the poor observers may be nearly as good as their weights; over all, weights are worth something.
    assert np.mean([maps.weighted - maps.equal for maps in worlds]) > 0.004


@pytest.mark.frameworks
def test_a_scene_goes_through_the_youtube_8m_door():
    scene = next(scene for scene in SCENES if scene.ratings)
    record = synthetic.encode("ab0Z", scene)
    assert record == synthetic.encode("ab0Z", scene)
    video = YouTube8MReader("frame", MODALITIES, 40).read(Record(record), test=False)
    assert (video.video_id, video.classes) == ("ab0Z", scene.labels)
    np.testing.assert_array_equal(video.frames, np.hstack([scene.features["rgb"], scene.features["audio"]]))
    assert video.ratings == {(class_id, start): relevance for start, class_id, relevance in scene.ratings}


def test_too_small_a_world_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 20 videos and 5 classes"):
        synthetic.write_shards(tmp_path / "shards", videos=10, classes=40, seed=0)
