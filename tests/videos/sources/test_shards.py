"""Shards: each record once, in order; what is damaged is named or left out."""

import os
import signal
import subprocess
import sys
from concurrent.futures import BrokenExecutor

import numpy as np
import pytest

from tests.videos.records import WIDTHS, frame_level, frames_of, sequence_example, write_shard
from videos.sources.records import Record, read_records
from videos.sources.shards import list_shards, read_shards
from videos.sources.yt8m import YouTube8MReader

pytestmark = pytest.mark.frameworks  # TensorFlow writes and reads the shards

READER = YouTube8MReader("frame", WIDTHS, classes=10)


def damage(path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)


@pytest.fixture
def folder(tmp_path):
    content = tmp_path / "content-1"
    (content / "frames").mkdir(parents=True)
    return content


def counts(index) -> dict[str, int]:
    return {fault: len(sentences) for fault, sentences in index.faults.items() if sentences}


def test_frames_and_index_lie_in_the_order_of_the_records(folder):
    first = write_shard(folder / "a.tfrecord", [frame_level("v1", 7), frame_level("v0", 5, labels=[3, 2, 3])])
    second = write_shard(folder / "b.tfrecord", [frame_level("v2", 6, ratings=[(5, 4, 1.0), (0, 4, 0.0)])])
    index = read_shards(list_shards([first], [second]), folder, READER)
    columns = ["video_id", "file", "first_frame", "frames", "classes", "test"]
    assert index.videos.select(columns).rows() == [
        ("v1", "frames/a.npy", 0, 7, [1], False),
        ("v0", "frames/a.npy", 7, 5, [2, 3], False),
        ("v2", "frames/b.npy", 0, 6, [1], True),
    ]
    assert index.videos["ratings"].list.len().to_list() == [0, 0, 2]
    assert [tuple(rating.values()) for rating in index.videos["ratings"][2]] == [(4, 5, 1), (4, 0, 0)]
    written = np.load(folder / "frames/a.npy")
    np.testing.assert_array_equal(written[7:, :4], frames_of("v0", 5, 4))
    np.testing.assert_array_equal(written[7:, 4:], frames_of("v0", 5, 2))


def test_shards_of_one_name_get_two_files(folder):
    paths = [folder / release / "train0.tfrecord" for release in ("v2", "v3")]
    files = [(shard.file, shard.test) for shard in list_shards(paths, [folder / "test0.tfrecord", paths[1]])]
    assert files == [("frames/train0.npy", False), ("frames/train0-2.npy", True), ("frames/test0.npy", True)]


class DeadlyReader(YouTube8MReader):
    """Kills the process that it is sent to."""

    def __setstate__(self, state: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_ends_the_reading(folder):
    paths = [write_shard(folder / f"{name}.tfrecord", [frame_level(name)]) for name in "ab"]
    with pytest.raises(BrokenExecutor):
        read_shards(list_shards(paths), folder, DeadlyReader("frame", WIDTHS, classes=10), jobs=2)


def test_a_truncated_shard_is_named_with_the_record(folder):
    path = write_shard(folder / "a.tfrecord", [frame_level(f"v{number}") for number in range(3)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"a\.tfrecord, record 2: .*truncated or corrupt.*--skip-bad"):
        read_shards(list_shards([path]), folder, READER)
    assert os.listdir(folder / "frames") == []
    index = read_shards(list_shards([path]), folder, READER, skip_bad=True)
    assert index.videos["video_id"].to_list() == ["v0", "v1"]
    assert counts(index) == {"damaged": 1}


@pytest.mark.parametrize("offset", [3, 20, -20])  # in the first record's length, in its data, in the last one's data
def test_a_corrupt_shard_is_named_and_ends(folder, offset):
    path = write_shard(folder / "a.tfrecord", [frame_level(f"v{number}") for number in range(3)])
    damage(path, offset)
    number = 2 if offset < 0 else 0
    with pytest.raises(ValueError, match=rf"a\.tfrecord, record {number}: .*corrupt"):
        read_shards(list_shards([path]), folder, READER)
    index = read_shards(list_shards([path]), folder, READER, skip_bad=True)
    assert (len(index.videos), counts(index)) == (number, {"damaged": 1})


def test_an_empty_shard_and_a_file_that_is_none(folder):
    empty, text = folder / "empty.tfrecord", folder / "text.tfrecord"
    empty.touch()
    text.write_text("<html>404 not found, and more of it to be longer than a header</html>")
    with pytest.raises(ValueError, match="the shard is empty"):
        next(read_records(empty))
    with pytest.raises(ValueError, match="corrupt"):
        next(read_records(text))
    with pytest.raises(FileNotFoundError):
        next(read_records(folder / "none.tfrecord"))


def test_a_bad_record_is_named_or_left_out(folder, caplog):
    records = [frame_level("v0"), b"\xff\xff no proto", frame_level("v2", id=None), frame_level("v3")]
    path = write_shard(folder / "a.tfrecord", records)
    with pytest.raises(ValueError, match=r"a\.tfrecord, record 1: is no SequenceExample or Example; .*--skip-bad"):
        read_shards(list_shards([path]), folder, READER)
    index = read_shards(list_shards([path]), folder, READER, skip_bad=True)
    assert index.videos["video_id"].to_list() == ["v0", "v3"]
    assert index.videos["first_frame"].to_list() == [0, 12]
    assert [sentence.partition(": ")[2] for sentence in index.faults["skipped"]] == [
        "is no SequenceExample or Example",
        "lacks the field `id`",
    ]
    assert [message.partition(", ")[2] for message in caplog.messages] == [
        "record 1: is no SequenceExample or Example",
        "record 2: lacks the field `id`",
    ]


def test_many_bad_records_are_named_up_to_twenty(folder, caplog):
    path = write_shard(folder / "a.tfrecord", [b"\xff"] * 23)
    assert counts(read_shards(list_shards([path]), folder, READER, skip_bad=True)) == {"skipped": 23}
    assert len(caplog.messages) == 21
    assert caplog.messages[-1] == "and 3 more"


def test_one_remedy_a_fault(folder):
    empty, text = folder / "empty.tfrecord", write_shard(folder / "bad.tfrecord", [b"\xff"])
    empty.touch()
    for path, remedy in [(empty, "; fetch it again, or keep what"), (text, "; repair it, or leave such")]:
        with pytest.raises(ValueError, match=remedy) as raised:
            read_shards(list_shards([path]), folder, READER)
        assert str(raised.value).count(";") == 1


def test_a_record_says_what_it_lacks():
    record = Record(sequence_example({"id": "", "n": [3, 4]}, {"rgb": [b"abcd", b"abc"]}))
    assert record.integers("n") == [3, 4]
    for ask, sentence in [
        (lambda: record.video_id("id"), "`id` is not one string"),
        (lambda: record.video_id("n"), "`n` holds integers, not strings"),
        (lambda: record.floats("n"), "`n` holds integers, not floats"),
        (lambda: record.integers("id"), "`id` holds strings, not integers"),
        (lambda: record.floats("scores"), "lacks the field `scores`"),
        (lambda: record.frames("audio", 4), "lacks the feature list `audio`"),
        (lambda: record.frames("rgb", 4), "frame 1 of `rgb` is 3 wide, not 4"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            ask()


def test_tensorflow_comes_quietly_and_only_when_a_shard_is_read():
    code = (
        "import sys, videos.ingest; assert 'tensorflow' not in sys.modules and 'joblib' not in sys.modules\n"
        "from videos.sources.records import import_tensorflow; import_tensorflow()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
