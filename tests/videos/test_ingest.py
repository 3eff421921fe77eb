"""The door of YouTube-8M, from shards to a frame store."""

import logging
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from tests.videos.records import (
    WIDTHS,
    frame_level,
    frames_of,
    sequence_example,
    splits,
    video_level,
    write_shard,
)
from videos import ingest
from videos.dataset import CLASS_NAMES, read_class_names, read_dataset
from videos.ingest import ingest_yt8m
from videos.segments import rankable, segments_of
from videos.splits import is_held_out
from videos.store import open_frames
from videos.store_writing import read_ingest

pytestmark = pytest.mark.frameworks  # TensorFlow writes and reads the shards

HELD_OUT = [f"v{number}" for number in range(200) if is_held_out(f"v{number}")]
OTHERS = [f"v{number}" for number in range(200) if not is_held_out(f"v{number}")]
RATED = ((0, 2, 1.0), (5, 2, 0.0))


@pytest.fixture(autouse=True)
def _logged(caplog):
    caplog.set_level(logging.INFO)


@pytest.fixture
def shards(tmp_path):
    """A function that writes shards by name and ingests them in one process with small widths."""

    def write_and_ingest(files, **options):
        for name, records in files.items():
            path = tmp_path / f"{name}.tfrecord"
            path.parent.mkdir(exist_ok=True)
            write_shard(path, records)
        test_shards = (str(tmp_path / "test*.tfrecord"),) if any(name.startswith("test") for name in files) else ()
        arguments = {"shards": (str(tmp_path / "**/train*.tfrecord"),), "out": tmp_path / "store"}
        arguments |= {"test_shards": test_shards, "modalities": WIDTHS, "jobs": 1}
        return ingest_yt8m(**(arguments | options))

    return write_and_ingest


def test_from_shards_to_a_store(shards, caplog):
    held, rated, plain, test = HELD_OUT[0], *OTHERS[:3]
    done = shards(
        {
            "train0": [frame_level(held, 12, ratings=RATED), frame_level(rated, 7, labels=[2, 1], ratings=RATED)],
            "train1": [frame_level(plain, 310)],
            "test0": [frame_level(test, 11, labels=None)],
        }
    )
    store = open_frames(done.folder)
    assert splits(done.folder) == {held: "holdout", rated: "finetune", plain: "pretrain", test: "test"}
    assert done.videos == {"pretrain": 1, "finetune": 1, "holdout": 1, "test": 1}
    assert (done.frames, done.judgments, done.note.skipped, done.is_new) == (12 + 7 + 300 + 11, 4, 0, True)
    assert store.judgments.rows() == sorted(
        (2, f"{video}:{start}", int(start == 0)) for video in (held, rated) for start in (0, 5)
    )
    for video_id, file, first, count in store.videos.select("video_id", "file", "first_frame", "frames").rows():
        expected = np.hstack([frames_of(video_id, 310, 4), frames_of(video_id, 310, 2)])[:count]
        np.testing.assert_array_equal(store.frames(file)[first : first + count], expected)
    dataset = store.dataset
    assert (dataset.name, dataset.modalities, dataset.dtype) == ("yt8m", WIDTHS, "uint8")
    assert (dataset.classes, dataset.vocabulary[7], dataset.scored_classes) == (3862, "7", [2])
    assert (dataset.segment_frames, dataset.partial_segments, dataset.max_frames, dataset.edge) == (
        5,
        True,
        300,
        "roll",
    )
    assert "is ready: 1 pretrain, 1 finetune, 1 holdout, 1 test; 330 frames, 4 judgments" in caplog.text


def test_the_edge_of_shifts_is_the_datasets_own(shards):
    """The same shards with another edge are other data: another store, with another digest."""
    rolled = shards({"train0": [frame_level(OTHERS[0], 7, ratings=RATED)]}).dataset
    assert not shards({}, edge="roll").is_new
    with pytest.raises(ValueError, match="--force"):
        shards({}, edge="clamp")
    clamped = shards({}, edge="clamp", force=True).dataset
    assert (rolled.edge, clamped.edge) == ("roll", "clamp")
    assert rolled.digest != clamped.digest


def test_every_judgment_is_of_a_segment(shards):
    done = shards({"train0": [frame_level(video, 12, ratings=[(10, 1, 1.0), *RATED]) for video in OTHERS[:3]]})
    store = open_frames(done.folder)
    segments = segments_of(store.videos, store.dataset)
    assert store.judgments.join(segments, on="segment_id", how="anti").is_empty()


def test_a_video_in_train_and_test_shards_is_a_test_video(shards):
    twice = OTHERS[0]
    done = shards(
        {
            "train0": [frame_level(twice, 9, ratings=RATED), frame_level(OTHERS[1], 9, ratings=[(0, 4, 1.0)])],
            "test0": [frame_level(twice, 8, labels=None)],
        }
    )
    store = open_frames(done.folder)
    assert splits(done.folder) == {twice: "test", OTHERS[1]: "finetune"}
    assert store.split("test")["frames"].to_list() == [8]
    assert store.judgments["segment_id"].to_list() == [f"{OTHERS[1]}:0"]
    assert store.dataset.scored_classes == [4]  # nobody looks at the ratings of a test video


def test_a_held_out_video_stays_so_in_the_test_shards_and_ratings_of_test_records_are_not_used(shards):
    done = shards({"train0": [frame_level(OTHERS[0])], "test0": [frame_level(HELD_OUT[0], ratings=RATED)]})
    assert splits(done.folder) == {OTHERS[0]: "pretrain", HELD_OUT[0]: "test"}
    assert done.judgments == 0


def test_of_two_releases_of_a_video_the_rated_one_counts(shards, caplog):
    first, second, held = OTHERS[0], OTHERS[1], HELD_OUT[0]
    done = shards(
        {
            "v2/train0": [frame_level(video, 9, labels=[1]) for video in (first, second, held)],
            "v3/train0": [frame_level(video, 8, labels=[2], ratings=RATED) for video in (held, first)],
        }
    )
    videos = open_frames(done.folder).videos
    assert splits(done.folder) == {first: "finetune", second: "pretrain", held: "holdout"}
    kept = {
        video: (frames, classes) for video, frames, classes in videos.select("video_id", "frames", "classes").rows()
    }
    assert kept == {first: (8, [2]), second: (9, [1]), held: (8, [2])}
    assert videos["file"].unique().sort().to_list() == ["frames/train0-2.npy", "frames/train0.npy"]
    assert "left out 2 records of videos that have another record" in caplog.text


def test_of_two_rated_records_the_first_counts_with_its_own_ratings(shards):
    video = OTHERS[0]
    done = shards(
        {"train0": [frame_level(video, 9, ratings=[(0, 1, 1.0)]), frame_level(video, 8, ratings=[(5, 2, 1.0)])]}
    )
    assert open_frames(done.folder).judgments.rows() == [(1, f"{video}:0", 1)]


def test_vocabulary_and_segment_classes(shards, tmp_path):
    vocabulary, scored = tmp_path / "vocabulary.csv", tmp_path / "scored.csv"
    vocabulary.write_text("Index,KnowledgeGraphId,Name\n2,/m/2,Cat\n0,/m/0,Game\n1,/m/1,\n3,,\n")
    scored.write_text("Index\n3\n2\n")
    ratings = [*RATED, (0, 1, 1.0)]
    files = {"train0": [frame_level(OTHERS[0], ratings=ratings), frame_level(OTHERS[1], ratings=[(0, 1, 1.0)])]}
    done = shards(files, vocabulary=vocabulary, segment_classes=scored)
    assert done.dataset.vocabulary == ["Game", "/m/1", "Cat", "3"]
    assert done.dataset.scored_classes == [2, 3]
    assert open_frames(done.folder).judgments["class_id"].unique().to_list() == [2]
    assert splits(done.folder) == {OTHERS[0]: "finetune", OTHERS[1]: "pretrain"}  # rated, but for no scored class


@pytest.mark.parametrize(
    ("option", "text", "sentence"),
    [
        ("vocabulary", "Index,Name\n0,a\n2,b\n", "does not number its classes 0, 1, 2"),
        ("vocabulary", "Index\n0\n", "lacks the column Name; it has Index"),
        ("vocabulary", "Index,Name\nx,a\n", "holds a class id that is not a number"),
        ("segment_classes", "Class\n3\n", "lacks the column Index; it has Class"),
        ("segment_classes", "Index\n3862\n", "a class outside the vocabulary of 3862; give its --vocabulary"),
        ("segment_classes", "Index\n", "lists no class"),
        ("segment_classes", None, "is missing; check the path"),
    ],
)
def test_bad_lists_of_classes_are_named(shards, tmp_path, option, text, sentence):
    path = tmp_path / "classes.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=rf"classes\.csv.* {sentence}"):
        shards({"train0": [frame_level("v")]}, **{option: path})
    assert not (tmp_path / "store").exists()


def test_a_store_without_scored_classes_says_so(shards, tmp_path, caplog):
    shards({"train0": [frame_level(OTHERS[0])]})
    assert caplog.messages[-1].endswith("; no class is scored; give --segment-classes to rank predictions")
    shards({"train0": [frame_level(OTHERS[0], ratings=RATED)]}, out=tmp_path / "rated")
    assert caplog.messages[-1].endswith("12 frames, 2 judgments")


def test_video_level_shards(shards):
    done = shards({"train0": [video_level(OTHERS[0], [3]), video_level(HELD_OUT[0], [4])]})
    store = open_frames(done.folder)
    assert (store.dataset.dtype, done.frames, store.dataset.scored_classes) == ("float32", 2, [])
    np.testing.assert_array_equal(store.frames("frames/train0.npy")[1], np.array([0, 0.25, 0.5, 0.75, 0, 0.25], "f4"))
    assert segments_of(store.videos, store.dataset)["segment_id"].to_list() == sorted(
        f"{video}:0" for video in (OTHERS[0], HELD_OUT[0])
    )


def test_no_shard_matches(shards, tmp_path):
    with pytest.raises(ValueError, match=r"no shard matches .*train\*\.tfrecord'; check the path"):
        shards({})
    with pytest.raises(ValueError, match="no shard matches"):
        shards({"train0": [frame_level("v")]}, test_shards=(str(tmp_path / "nothing*"),))
    with pytest.raises(ValueError, match="names no pattern"):
        shards({}, shards=())


def test_bad_records_stop_the_ingest_or_are_counted(shards, tmp_path, caplog):
    files = {"train0": [frame_level("a"), frame_level("b", labels=[9999]), frame_level("c")], "train1": [b"\xff"]}
    with pytest.raises(ValueError, match=r"train0\.tfrecord, record 1: `labels` holds 9999.*--skip-bad"):
        shards(files)
    assert not (tmp_path / "store").exists()
    done = shards(files, skip_bad=True)
    assert (done.note.skipped, sum(done.videos.values())) == (2, 2)
    assert "2 bad records skipped" in caplog.text
    assert open_frames(done.folder).videos["file"].unique().to_list() == ["frames/train0.npy"]


def test_damaged_shards_are_counted_apart(shards, tmp_path, caplog):
    path = write_shard(tmp_path / "train0.tfrecord", [frame_level(f"v{number}") for number in range(30)])
    content = bytearray(path.read_bytes())
    content[len(content) * 31 // 60] ^= 0xFF
    path.write_bytes(content)
    done = shards({"train1": [b"\xff"]}, skip_bad=True)
    assert (done.note.skipped, done.note.damaged, sum(done.videos.values())) == (1, 1, 15)
    assert read_ingest(done.folder).damaged == 1
    assert "train0.tfrecord, record 15: the shard is truncated or corrupt from here on" in caplog.text
    assert "1 bad record skipped, 1 damaged shard cut off" in caplog.text


def test_nothing_but_bad_records_is_no_store(shards, tmp_path):
    with pytest.raises(ValueError, match="no record could be read"):
        shards({"train0": [b"\xff"]}, skip_bad=True)
    assert not (tmp_path / "store" / "dataset.json").exists()


def test_real_records_are_repaired_and_counted(shards, caplog):
    rated, late = OTHERS[0], OTHERS[1]
    uneven = sequence_example({"id": "uneven", "labels": [1]}, {"rgb": [b"abcd"] * 3, "audio": [b"ab"] * 2})
    ratings = [(0, 2, 1.0), (15, 2, 1.0), (20, 2, 1.0)]
    done = shards(
        {"train0": [frame_level(rated, 12, ratings=ratings), uneven, frame_level(late, 4, ratings=[RATED[1]])]}
    )
    assert splits(done.folder) == {rated: "finetune", "uneven": "pretrain", late: "pretrain"}
    assert open_frames(done.folder).judgments.rows() == [(2, f"{rated}:0", 1)]
    note = read_ingest(done.folder)
    assert (note.late_ratings, note.padded_videos, note.skipped, note.damaged) == (3, 1, 0, 0)
    assert [sentence.partition("record ")[2] for sentence in note.named["late_ratings"]] == [
        "0: left out a rating of class 2 at 15 s, beyond the end of the video of 12 s",
        "0: left out a rating of class 2 at 20 s, beyond the end of the video of 12 s",
        "2: left out a rating of class 2 at 5 s, beyond the end of the video of 4 s",
    ]
    assert "record 1: different numbers of frames" in note.named["padded_videos"][0]
    assert set(note.named["late_ratings"] + note.named["padded_videos"]) <= set(caplog.messages)
    assert "3 ratings beyond a video's end left out" in caplog.messages[-1]
    assert "1 video with modalities of different length padded with zeros" in caplog.messages[-1]


def test_the_progress_line_names_speed_amount_and_time_left(shards, monkeypatch, caplog):
    monkeypatch.setattr("videos.sources.shards.REPORT_SECONDS", 0)
    shards({f"train{number}": [frame_level(f"v{number}")] for number in range(2)})
    pattern = r"0\.0 of 0\.0 GB of shards read, \d+ videos/s, \d+:\d\d:\d\d left"
    assert len([message for message in caplog.messages if re.fullmatch(pattern, message)]) == 2


def test_places_that_nobody_rates_are_a_fact_of_the_dataset_unless_somebody_rated_them(shards, tmp_path):
    def dataset(start, **options):
        return shards(
            {"train0": [frame_level(OTHERS[0], 58, ratings=[(start, 2, 1.0)])]}, force=True, **options
        ).dataset

    assert [dataset(start).unrated_ends for start in (25, 30, 45, 50)] == [(0, 0), (6, 2), (6, 2), (0, 0)]
    store = open_frames(tmp_path / "store")
    rated = dataset(30)
    ids = segments_of(store.videos, rated).filter(rankable(rated)).sort("start")["start"].to_list()
    assert ids == [30, 35, 40, 45]  # of 12
    assert read_dataset(tmp_path / "store") == rated
    assert shards({"train0": [frame_level(OTHERS[0], 58)]}, force=True).dataset.unrated_ends == (0, 0)


def test_a_failed_ingest_resumes_with_the_shards_that_are_finished(shards, tmp_path, caplog):
    files = {"train0": [frame_level("a")], "train1": [b"\xff", frame_level("b")], "train2": [frame_level("c")]}
    with pytest.raises(ValueError, match=r"train1\.tfrecord, record 0"):
        shards(files)
    with pytest.raises(ValueError, match=r"has no dataset\.json"):
        open_frames(tmp_path / "store")
    content = tmp_path / "store" / "content-1"
    first = (content / "frames" / "train0.npy").stat().st_ino
    write_shard(tmp_path / "train1.tfrecord", [frame_level("b")])  # fetched again
    done = shards({})
    assert "resumes: 1 of 3 shards finished before" in caplog.messages
    assert (content / "frames" / "train0.npy").stat().st_ino == first
    assert sum(done.videos.values()) == 3
    assert {entry.name for entry in done.folder.iterdir()} == {"content-1", "dataset.json"}
    assert not (content / "index").exists()
    assert shards({}, out=tmp_path / "other").dataset == done.dataset


def test_what_was_skipped_is_not_skipped_without_being_asked(shards):
    with pytest.raises(ValueError, match="no record could be read"):
        shards({"train0": [b"\xff"]}, skip_bad=True)
    with pytest.raises(ValueError, match=r"train0\.tfrecord, record 0"):
        shards({})


def test_force_needs_no_room_for_two_stores_and_spares_the_old_one_until_a_shard_is_read(shards, tmp_path, monkeypatch):
    before = shards({"train0": [frame_level("a")]}).dataset
    with pytest.raises(ValueError, match="record 0"):
        shards({"train0": [b"\xff"]}, force=True)
    assert open_frames(tmp_path / "store").dataset == before
    write_index = ingest.write_index

    def alone(building, *arguments):
        assert [entry.name for entry in (tmp_path / "store").glob("content-*")] == [building.name]
        return write_index(building, *arguments)

    monkeypatch.setattr(ingest, "write_index", alone)
    after = shards({"train0": [frame_level("b")]}, force=True).dataset
    assert after.digest != before.digest


def test_an_ingest_killed_ten_times_gives_the_same_store(tmp_path):
    command = [sys.executable, "-m", "tests.videos.killed_ingest", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    kills, repeated = map(int, done.stdout.split())
    assert kills == 10
    assert repeated == 0  # shards that were finished and read again


def test_typed_again_it_does_nothing(shards, caplog, tmp_path):
    files = {"train0": [frame_level("a")]}
    first = shards(files)
    again = ingest_yt8m((str(tmp_path / "train*.tfrecord"),), tmp_path / "store", modalities=WIDTHS)
    assert (first.is_new, again.is_new) == (True, False)
    assert (again.dataset, again.videos, again.frames) == (first.dataset, first.videos, first.frames)
    assert "is complete already" in caplog.text
    other = {"train0": [frame_level("a"), frame_level("b")]}
    with pytest.raises(ValueError, match="from other inputs"):
        shards(other)
    assert open_frames(tmp_path / "store").dataset == first.dataset
    assert sum(shards(other, force=True).videos.values()) == 2


def test_the_number_of_processes_changes_nothing(shards, tmp_path):
    files = {
        f"train{shard}": [frame_level(f"v{10 * shard + number}", 6 + number, ratings=RATED) for number in range(5)]
        for shard in range(3)
    }
    alone = shards(files)
    together = shards({}, out=tmp_path / "together", jobs=2)
    assert alone.dataset == together.dataset
    for name in ("videos.parquet", "judgments.parquet", "frames/train2.npy"):
        assert (alone.folder / "content-1" / name).read_bytes() == (together.folder / "content-1" / name).read_bytes()


@pytest.mark.parametrize(("stop", "jobs"), [(signal.SIGINT, 2), (signal.SIGTERM, 1)])
def test_an_interrupted_ingest_leaves_no_store(tmp_path, stop, jobs):
    for number in range(60):
        write_shard(tmp_path / f"train{number:02}.tfrecord", [frame_level(f"{number}-{i}", 300) for i in range(20)])
    command = [sys.executable, "-m", "training", "ingest", "yt8m", "--shards", str(tmp_path / "*.tfrecord")]
    command += ["--out", str(tmp_path / "store"), "--modalities.rgb", "4", "--modalities.audio", "2"]
    command += ["--jobs", str(jobs)]
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "store").glob("content-1/frames/*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, stop)  # as a terminal does
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + stop, errors
    assert "Traceback" not in errors
    assert not (tmp_path / "store" / "dataset.json").exists()
    assert not list((tmp_path / "store").rglob("*.replacing"))


def test_an_ingest_is_logged_once_with_the_names_of_its_classes(shards, store):
    from tracking.runs import find_runs

    ingested = shards({"train0": [frame_level(OTHERS[0], 7, ratings=RATED)]})
    dataset = ingested.dataset

    def typed(is_new):
        ingest.tracked(lambda: replace(ingested, is_new=is_new))()
        return find_runs(dataset.name, stage="ingest", kind="dataset", data_digest=dataset.digest)

    (run,) = typed(is_new=True)
    names = run.artifact(CLASS_NAMES)
    assert read_class_names(names) == dataset.vocabulary
    assert len(typed(is_new=False)) == 1
    names.unlink()  # as a run of an earlier version
    assert len(typed(is_new=False)) == 2
    assert len(typed(is_new=False)) == 2


def test_all_real_video_level_shards(real_data, tmp_path):
    folder = real_data / "yt8m"
    done = ingest_yt8m(
        (str(folder / "video-level" / "*.tfrecord"),),
        tmp_path / "store",
        vocabulary=folder / "vocabulary_3862.csv",
        segment_classes=folder / "segment_label_ids.csv",
    )
    assert done.videos == {"pretrain": 5889, "finetune": 0, "holdout": 0, "test": 0}
    assert (done.frames, done.note.skipped, done.dataset.dtype, done.dataset.width) == (5889, 0, "float32", 1152)
    assert len(done.dataset.scored_classes) == 1000
    store = open_frames(done.folder)
    assert len(set(store.videos["file"])) == 20
    frames = store.frames("frames/validate0007.npy")
    assert frames.dtype == np.float32
    assert np.abs(frames).max() < 4
    assert frames[:, :1024].std() > 0
