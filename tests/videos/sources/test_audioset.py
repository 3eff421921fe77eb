"""Strong labels: which clip is judged for what, and when a segment is relevant."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.videos.records import frames_of, sequence_example
from videos.dataset import Dataset
from videos.segments import segments_of
from videos.sources.audioset import AudioSetReader, Clip, covered_seconds, judge, read_strong_labels
from videos.sources.records import Record

CLASSES = 'source,event_label,class_id\nhome,Dog,7\nhome,Cat,8\nroad,"Air horn, truck horn",3\n'
HEADER = "video_id\tonset\toffset\tevent_label\n"
FILES = {
    "classes.csv": CLASSES,
    "home_train.tsv": HEADER + "a\t0.0\t1.0\tDog\na\t2.0\t3.0\tDog\nquiet\t\t\t\nboth\t0\t1\tCat\nheld\t0\t1\tCat\n",
    "home_holdout.tsv": HEADER + "b\t0.5\t9.0\tCat\n",
    "road_train.tsv": HEADER + "both\t4\t5\tAir horn, truck horn\nt\t0\t1\tAir horn, truck horn\n",
    "road_holdout.tsv": HEADER + "held\t1\t2\tAir horn, truck horn\n",
    "test_clips.tsv": "video_id\tsource\nt\troad\n",
}


def strong(folder: Path, **changed: str):
    for name, text in (FILES | changed).items():
        (folder / name).write_text(text)
    return read_strong_labels(folder, 20)


# ---- records


@pytest.mark.frameworks
def test_a_record():
    rows = [row.tobytes() for row in frames_of("x", 12, 128)]
    record = Record(sequence_example({"video_id": "x", "labels": [5, 2]}, {"audio_embedding": rows}))
    video = AudioSetReader(classes=6).read(record, test=False)
    assert (video.video_id, video.classes, video.ratings) == ("x", [5, 2], {})
    np.testing.assert_array_equal(video.frames, frames_of("x", 12, 128)[:10])
    with pytest.raises(ValueError, match="`labels` holds 5, outside"):
        AudioSetReader(classes=5).read(record, test=False)
    record = Record(sequence_example({"video_id": "x:0", "labels": [5]}, {"audio_embedding": rows}))
    with pytest.raises(ValueError, match=r"`video_id` is 'x:0'; .*colon"):
        AudioSetReader(classes=6).read(record, test=False)


# ---- which clip is judged for what


def test_a_clip_is_judged_for_the_classes_of_its_sources(tmp_path):
    labels = strong(tmp_path)
    assert labels.classes == [3, 7, 8]
    assert labels.clips["a"] == Clip("finetune", {7, 8}, {7: [(0.0, 1.0), (2.0, 3.0)]})
    assert labels.clips["b"] == Clip("holdout", {7, 8}, {8: [(0.5, 9.0)]})
    assert labels.clips["quiet"] == Clip("finetune", {7, 8}, {})  # listened to, nothing heard
    assert labels.clips["both"] == Clip("finetune", {3, 7, 8}, {8: [(0.0, 1.0)], 3: [(4.0, 5.0)]})


def test_a_clip_of_several_files_is_held_out(tmp_path):
    clips = strong(tmp_path).clips
    assert clips["held"] == Clip("holdout", {3, 7, 8}, {8: [(0.0, 1.0)], 3: [(1.0, 2.0)]})
    assert clips["t"] == Clip("test", set(), {})  # its events are not looked at


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("home_train.tsv", HEADER + "a\t0\t1\tBird\n", "home_train.tsv, line 2: 'Bird' is not an event of this source"),
        ("home_train.tsv", HEADER + "a\t0\t1\tDog\na\tx\t1\tDog\n", "line 3: onset 'x' or offset '1' is no number"),
        ("home_train.tsv", HEADER + "a\t2\t1\tDog\n", "line 2: the event lasts from 2.0 to 1.0"),
        ("home_train.tsv", HEADER + "a\t0\tnan\tDog\n", "line 2: the event lasts from 0.0 to nan"),
        ("road_holdout.tsv", "video_id\tonset\n", "road_holdout.tsv lacks the column offset, event_label; it has"),
        ("road_holdout.tsv", "", "road_holdout.tsv cannot be read as a table"),
        ("classes.csv", CLASSES + "road,Car,20\n", "classes.csv, line 5: '20' is no class id; they go from 0 to 19"),
    ],
)
def test_bad_tables_are_named(tmp_path, name, text, sentence):
    with pytest.raises(ValueError, match=sentence):
        strong(tmp_path, **{name: text})


def test_a_missing_table_is_named(tmp_path):
    strong(tmp_path)
    (tmp_path / "test_clips.tsv").unlink()
    with pytest.raises(ValueError, match=r"test_clips\.tsv is missing"):
        read_strong_labels(tmp_path, 20)


# ---- when a segment is relevant


@pytest.mark.parametrize(
    ("events", "seconds"),
    [
        ([], 0.0),
        ([(0.0, 10.0)], 2.0),  # all of [1, 3)
        ([(0.0, 1.0), (3.0, 4.0)], 0.0),  # touching only
        ([(0.5, 1.25), (2.5, 9.0)], 0.25 + 0.5),
        ([(1.0, 2.0), (1.5, 2.5)], 1.5),  # an overlap counts once
        ([(1.0, 3.0), (1.5, 2.0), (2.5, 2.75)], 2.0),  # inside another
        ([(2.0, 2.25), (1.0, 1.25)], 0.5),  # in any order
    ],
)
def test_covered_seconds(events, seconds):
    assert covered_seconds(events, 1.0, 3.0) == seconds


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted), max_size=6), st.integers(0, 30))
def test_covered_seconds_counts_each_moment_once(events, begin):
    ticks = {tick for onset, offset in events for tick in range(onset, offset)}
    assert covered_seconds(events, begin, begin + 8) == len(ticks & set(range(begin, begin + 8)))


def test_a_segment_is_relevant_from_half_a_second_on():
    dataset = Dataset("x", {"audio": 128}, "uint8", 2, False, 10, "clamp", [], [], "")
    videos = pl.DataFrame(
        {
            "video_id": ["a", "unknown", "t"],
            "file": "f",
            "first_frame": 0,
            "frames": pl.Series([5, 4, 4], dtype=pl.Int32),
        }
    )
    events = {
        1: [(0.0, 0.5), (2.0, 2.499)],  # half a second of the first, a millisecond less of the second
        2: [(1.0, 1.3), (1.6, 1.8), (1.92, 2.4)],  # two events make half a second; 0.48 s of the second
        3: [(1.42, 2.42)],  # half a second of each, up to rounding
    }
    clips = {"a": Clip("finetune", {1, 2, 3, 4}, events), "t": Clip("test"), "elsewhere": Clip("holdout", {1})}
    judgments = judge(clips, segments_of(videos, dataset))
    relevant = {(class_id, segment) for class_id, segment, relevance in judgments.rows() if relevance}
    assert sorted(judgments.select("class_id", "segment_id").rows()) == [
        (class_id, f"a:{start}")
        for class_id in (1, 2, 3, 4)
        for start in (0, 2)  # the fifth frame is no segment
    ]
    assert relevant == {(1, "a:0"), (2, "a:0"), (3, "a:0"), (3, "a:2")}
