"""YouTube-8M records, good and bad."""

import numpy as np
import pytest

from tests.videos.records import WIDTHS, frame_level, frames_of, sequence_example, video_level, write_shard
from videos.sources.records import Record, import_tensorflow
from videos.sources.shards import list_shards
from videos.sources.yt8m import YouTube8MReader, find_level

pytestmark = pytest.mark.frameworks  # TensorFlow writes and reads the shards

FRAMES = YouTube8MReader("frame", WIDTHS, classes=10)
MEANS = YouTube8MReader("video", WIDTHS, classes=10)


def read(record: bytes, reader=FRAMES, test=False):
    return reader.read(Record(record), test)


def test_a_frame_level_record():
    video = read(frame_level("ab1c", 12, labels=[3, 1], ratings=[(5, 3, 1.0), (10, 3, 0.0), (5, 7, 1.0), (5, 3, 0.0)]))
    assert video.video_id == "ab1c"
    assert video.classes == [3, 1]
    expected = np.concatenate([frames_of("ab1c", 12, 4), frames_of("ab1c", 12, 2)], axis=1)
    np.testing.assert_array_equal(video.frames, expected)
    assert video.frames.dtype == np.uint8
    assert video.ratings == {(3, 5): 0, (3, 10): 0, (7, 5): 1}  # the last of a repeated pair holds


def test_modalities_stand_in_the_order_that_is_asked_for():
    reader = YouTube8MReader("frame", {"audio": 2, "rgb": 4}, classes=10)
    video = read(frame_level("v", 3), reader)
    np.testing.assert_array_equal(video.frames, np.hstack([frames_of("v", 3, 2), frames_of("v", 3, 4)]))


def test_a_video_level_record_is_a_video_of_one_frame():
    video = read(video_level("v", labels=[9]), MEANS)
    assert video.classes == [9]
    np.testing.assert_array_equal(video.frames, np.array([[0, 0.25, 0.5, 0.75, 0, 0.25]], np.float32))
    assert video.frames.dtype == MEANS.dtype == "float32"


def test_videos_end_after_300_frames_and_so_do_ratings():
    video = read(frame_level("v", 310, ratings=[(295, 1, 1.0), (300, 1, 1.0), (305, 1, 0.0)]))
    np.testing.assert_array_equal(video.frames[:, :4], frames_of("v", 310, 4)[:300])
    assert video.ratings == {(1, 295): 1}


def test_only_scored_classes_are_judged():
    reader = YouTube8MReader("frame", WIDTHS, classes=10, scored=frozenset({2}))
    assert read(frame_level("v", ratings=[(0, 1, 1.0), (0, 2, 1.0)]), reader).ratings == {(2, 0): 1}
    assert read(frame_level("v", ratings=[(0, 1, 1.0)]), reader).ratings == {}


def test_a_last_segment_may_be_cut_short():
    assert read(frame_level("v", 12, ratings=[(10, 1, 1.0)])).ratings == {(1, 10): 1}


def test_any_score_above_zero_is_relevant():
    ratings = [(0, 1, 0.3), (0, 2, 1.0), (0, 3, 0.0), (0, 4, -1.0)]
    assert read(frame_level("v", ratings=ratings)).ratings == {(1, 0): 1, (2, 0): 1, (3, 0): 0, (4, 0): 0}


def test_test_records_may_lack_labels():
    assert read(frame_level("v", labels=None), test=True).classes == []
    with pytest.raises(ValueError, match="lacks the field `labels`"):
        read(frame_level("v", labels=None))
    assert read(frame_level("v", labels=[])).classes == []
    with pytest.raises(ValueError, match="`labels` holds floats, not integers"):
        read(frame_level("v", labels=[1.0]), test=True)


def test_a_field_without_a_list_is_missing():
    example = import_tensorflow().train.SequenceExample.FromString(frame_level("v"))
    example.context.feature["labels"].ClearField("int64_list")
    record = example.SerializeToString()
    assert read(record, test=True).classes == []
    with pytest.raises(ValueError, match="lacks the field `labels`"):
        read(record)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"id": None}, "lacks the field `id`"),
        ({"id": "v:0"}, "`id` is 'v:0'; a video's id must not contain a colon"),
        ({"widths": {"rgb": 4}}, "lacks the feature list `audio`"),
        ({"widths": {"rgb": 5, "audio": 2}}, "frame 0 of `rgb` is 5 wide, not 4"),
        ({"frames": 0}, "has no frames in a modality"),
        ({"labels": [1, 10]}, "`labels` holds 10, outside the vocabulary \\(0 to 9\\)"),
        ({"labels": [1.0, 2.0]}, "`labels` holds floats, not integers"),
        ({"ratings": [(0, 1, 1.0)], "segment_scores": [1]}, "`segment_scores` holds integers, not floats"),
        ({"labels": [-1]}, "`labels` holds -1, outside"),
        ({"ratings": [(0, 10, 1.0)]}, "`segment_labels` holds 10, outside"),
        ({"ratings": [(-5, 1, 1.0)]}, "rating at -5 s, where no segment"),
        ({"ratings": [(3, 1, 1.0)]}, "rating at 3 s, where no segment"),
        ({"ratings": [(0, 1, 1.0)], "segment_scores": None}, "lacks the field `segment_scores`"),
        ({"ratings": [(0, 1, 1.0)], "segment_labels": [1, 2]}, "different numbers of ratings: .*: 1, .*: 2, .*: 1}"),
    ],
)
def test_what_is_wrong_with_a_frame_level_record(changed, sentence):
    with pytest.raises(ValueError, match=sentence):
        read(frame_level("v", **changed))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"mean_audio": None}, "lacks the field `mean_audio`"),
        ({"mean_rgb": [0.0] * 3}, "`mean_rgb` is 3 wide, not 4"),
        ({"mean_rgb": [0.0, 1.0, 2.0, float("nan")]}, "`mean_rgb` holds a value that is not finite"),
    ],
)
def test_what_is_wrong_with_a_video_level_record(changed, sentence):
    with pytest.raises(ValueError, match=sentence):
        read(video_level("v", **changed), MEANS)


def test_the_levels_do_not_mix():
    with pytest.raises(ValueError, match="is not a frame-level record"):
        read(video_level("v"))
    with pytest.raises(ValueError, match="is not a video-level record"):
        read(frame_level("v"), MEANS)


@pytest.mark.parametrize(("rgb", "audio"), [(3, 2), (1, 4)])
def test_a_shorter_modality_is_padded_with_zeros(rgb, audio):
    video = read(sequence_example({"id": "v", "labels": [1]}, {"rgb": [b"abcd"] * rgb, "audio": [b"ab"] * audio}))
    assert len(video.frames) == max(rgb, audio)
    assert video.frames[:rgb, :4].tobytes() == b"abcd" * rgb
    assert video.frames[:audio, 4:].tobytes() == b"ab" * audio
    padding = np.concatenate([video.frames[rgb:, :4].ravel(), video.frames[audio:, 4:].ravel()])
    assert np.abs(padding * (4 / 255) + (4 / 512 - 2)).max() < 4e-5  # features, not bytes, are zero
    assert video.repairs == [
        ("padded_videos", f"different numbers of frames, padded with zeros: {{'rgb': {rgb}, 'audio': {audio}}}")
    ]


def test_a_modality_without_any_frame_is_a_bad_record():
    with pytest.raises(ValueError, match=r"has no frames in a modality: {'rgb': 2, 'audio': 0}"):
        read(sequence_example({"id": "v", "labels": [1]}, {"rgb": [b"abcd"] * 2, "audio": []}))


def test_a_rating_beyond_the_end_of_a_video_is_left_out_alone():
    video = read(frame_level("v", 12, ratings=[(10, 1, 1.0), (15, 1, 1.0), (0, 2, 1.0), (305, 2, 0.0)]))
    assert video.ratings == {(1, 10): 1, (2, 0): 1}
    assert len(video.frames) == 12
    assert video.repairs == [
        ("late_ratings", "left out a rating of class 1 at 15 s, beyond the end of the video of 12 s"),
        ("late_ratings", "left out a rating of class 2 at 305 s, beyond the end of the video of 12 s"),
    ]


def test_the_first_readable_record_tells_the_level(tmp_path):
    bad = tmp_path / "bad.tfrecord"
    bad.write_bytes(b"nothing that can be read")
    means = write_shard(tmp_path / "means.tfrecord", [video_level("v")])
    frames = write_shard(tmp_path / "frames.tfrecord", [frame_level("v")])
    assert find_level(list_shards([means, frames])) == "video"
    assert find_level(list_shards([bad, frames, means])) == "frame"
