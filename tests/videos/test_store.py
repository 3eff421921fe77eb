"""The frame store: what is written is read again, and nothing half-written is ever seen."""

import gc
import hashlib
import json
import pickle
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from scoring.lists import judgments
from videos import store as frame_store
from videos.dataset import Dataset
from videos.splits import is_held_out, is_in_share, split_of
from videos.store import VIDEO_INDEX, open_frames
from videos.store_writing import Ingest, is_complete, new_frames, new_store, read_ingest, write_index

DATASET = Dataset("x", {"rgb": 2, "audio": 1}, "uint8", 5, True, 300, "roll", ["a", "b"], [0], "")
TABLE = pl.DataFrame(
    {
        "video_id": ["v2", "v1"],
        "split": ["pretrain", "finetune"],
        "file": ["frames/s.npy", "frames/s.npy"],
        "first_frame": [0, 4],
        "frames": [4, 6],
        "classes": [[1], [0, 1]],
        "content": ["2" * 64, "1" * 64],
    }
)
JUDGMENTS = pl.DataFrame({"class_id": [0, 0], "segment_id": ["v1:0", "v1:5"], "relevance": [1, 0]})
ROWS = np.arange(30, dtype=np.uint8).reshape(10, 3)


def write(folder: Path, dataset=DATASET, videos=TABLE, judgments=JUDGMENTS, inputs=None, skipped=0) -> Dataset:
    with new_store(folder) as building:
        for file in videos["file"].unique():
            with new_frames(building / file, "uint8", 3) as frames_file:
                frames_file.append(ROWS)
        return write_index(building, dataset, videos, judgments, Ingest(inputs or {}, skipped))


# ---- the rule of splits


@pytest.mark.parametrize(("video_id", "remainder"), [("02aa", 13), ("p7aa", 70), ("a47", 7), ("a238", 8)])
def test_the_hash_of_the_id_decides_whether_a_rated_video_is_held_out(video_id, remainder):
    assert int.from_bytes(hashlib.sha256(video_id.encode()).digest(), "big") % 100 == remainder
    assert split_of(video_id, rated=True, test=False) == ("holdout" if remainder < 8 else "finetune")
    assert split_of(video_id, rated=True, test=False, percent=40) == ("holdout" if remainder < 40 else "finetune")
    assert split_of(video_id, rated=False, test=False) == "pretrain"  # whatever its hash
    assert split_of(video_id, rated=True, test=True) == "test"


def test_a_larger_share_of_the_videos_has_those_of_a_smaller_one():
    ids = [f"video {number}" for number in range(4000)]
    shares = [{video_id for video_id in ids if is_in_share(video_id, share)} for share in (0.1, 0.25, 0.5, 1.0)]
    assert all(smaller < larger for smaller, larger in pairwise(shares))
    assert [len(share) / len(ids) for share in shares] == pytest.approx([0.1, 0.25, 0.5, 1.0], abs=0.02)
    held_out = [video_id for video_id in shares[2] if is_held_out(video_id, 50)]  # the two are independent
    assert len(held_out) / len(shares[2]) == pytest.approx(0.5, abs=0.04)


# ---- reading what was written


def test_a_store_reads_as_it_was_written(tmp_path):
    dataset = write(tmp_path / "store")
    store = open_frames(tmp_path / "store")
    assert store.dataset == dataset
    assert store.videos.schema == VIDEO_INDEX
    assert store.videos["video_id"].to_list() == ["v2", "v1"]  # as the frames lie
    assert store.split("finetune")["video_id"].to_list() == ["v1"]
    assert store.judgments.schema == judgments.JUDGMENTS
    assert store.judgments.rows() == [(0, "v1:0", 1), (0, "v1:5", 0)]
    rows = store.frames("frames/s.npy")
    assert isinstance(rows, np.memmap)
    assert not rows.flags.writeable
    np.testing.assert_array_equal(rows, ROWS)
    assert store.frames("frames/s.npy") is rows


def test_an_unknown_split_is_named(tmp_path):
    write(tmp_path / "store")
    with pytest.raises(ValueError, match=r"no split 'train'.*pretrain, finetune, holdout, test"):
        open_frames(tmp_path / "store").split("train")


def test_no_store_is_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="python -m training ingest"):
        open_frames(tmp_path)


@pytest.mark.parametrize("name", ["videos.parquet", "judgments.parquet", "ingest.json"])
@pytest.mark.parametrize("content", [None, b"", b"{}", "cut"])
def test_a_missing_or_damaged_file_is_a_sentence(tmp_path, name, content):
    write(tmp_path / "store")
    path = tmp_path / "store" / "content-1" / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-9] if content == "cut" else content)
    with pytest.raises(ValueError, match=rf"{name} is (missing|damaged).*; make the frame store again, with --force$"):
        read_ingest(tmp_path / "store") if name == "ingest.json" else open_frames(tmp_path / "store")


@pytest.fixture
def eight_files(tmp_path, monkeypatch):
    """A store of eight files, of which two are mapped at a time, and these files."""
    monkeypatch.setattr(frame_store, "MAPPED_FILES", 2)
    files = [f"frames/{name}.npy" for name in "abcdefgh"]
    videos = TABLE.head(1).drop("file", "video_id").join(pl.DataFrame({"file": files, "video_id": files}), how="cross")
    write(tmp_path / "store", videos=videos)
    return open_frames(tmp_path / "store"), files


@pytest.mark.parametrize("threads", [1, 8])
def test_few_files_are_mapped_at_a_time(eight_files, threads):
    store, files = eight_files

    def read(file: str) -> int:
        np.testing.assert_array_equal(store.frames(file), ROWS)
        return sum("/store/content-1/frames/" in line for line in Path("/proc/self/maps").read_text().splitlines())

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(threads) as pool:
            mapped = list(pool.map(read, files * 100))
    finally:
        sys.setswitchinterval(before)
    assert 1 <= max(mapped) <= 2 + threads  # and one that each thread holds
    assert read(files[0]) <= 3


def test_files_are_mapped_by_threads_while_garbage_is_collected(eight_files):
    """Python 3.11 loses count of its recursion if another thread parses a literal during a collection."""
    store, files = eight_files
    collections = []  # a callback in Python lets other threads run meanwhile
    before, switches = gc.get_threshold(), sys.getswitchinterval()
    gc.callbacks.append(lambda phase, info: collections.append(phase))
    gc.set_threshold(5)
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            assert {frames.shape for frames in pool.map(store.frames, files * 30)} == {ROWS.shape}
    finally:
        sys.setswitchinterval(switches)
        gc.set_threshold(*before)
        gc.callbacks.pop()
    assert collections


@pytest.mark.parametrize(
    ("soft", "hard", "raised", "files"),
    [(1024, 4096, 4096, 2048), (1024, resource.RLIM_INFINITY, 16384, 8192), (50_000, 50_000, 50_000, 8192)],
)
def test_half_of_the_file_descriptors_are_for_frames(monkeypatch, soft, hard, raised, files):
    limits = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: limits.append(limit))
    assert frame_store._mapped_files() == files
    assert limits == [(raised, hard)]


def test_another_process_gets_the_folder_and_no_frames(tmp_path):
    write(tmp_path / "store")
    store = open_frames(tmp_path / "store")
    store.frames("frames/s.npy")
    assert len(pickle.dumps(store)) < 500
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(store)).frames("frames/s.npy"), ROWS)


# ---- frames files


@pytest.mark.parametrize(("dtype", "counts"), [("uint8", [1, 70_000, 3]), ("float32", [2]), ("uint8", [])])
def test_appended_rows_are_one_array(tmp_path, dtype, counts):
    rng = np.random.default_rng(0)
    parts = [rng.integers(0, 256, (count, 3)).astype(dtype) for count in counts]
    with new_frames(tmp_path / "x.npy", dtype, 3) as frames_file:
        firsts = [frames_file.append(part) for part in parts]
    assert firsts == [sum(counts[:number]) for number in range(len(counts))]
    written = np.load(tmp_path / "x.npy")
    assert written.dtype == dtype
    np.testing.assert_array_equal(written, np.concatenate([np.empty((0, 3), dtype), *parts]))


def test_a_broken_off_frames_file_vanishes(tmp_path):
    def fail():
        with new_frames(tmp_path / "x.npy", "uint8", 3) as frames_file:
            frames_file.append(ROWS)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


# ---- all or nothing


def test_a_new_store_is_seen_when_it_is_complete(tmp_path):
    folder = tmp_path / "deep" / "store"
    with new_store(folder) as building:
        with new_frames(building / "frames/s.npy", "uint8", 3) as frames_file:
            frames_file.append(ROWS)
        assert not (folder / "dataset.json").exists()
        write_index(building, DATASET, TABLE, JUDGMENTS, Ingest({}))
        assert not (folder / "dataset.json").exists()
    assert names(folder) == {"dataset.json", "content-1"}
    assert names(folder / "content-1") == {
        "dataset.json",
        "ingest.json",
        "videos.parquet",
        "judgments.parquet",
        "frames",
    }


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failed_ingest_leaves_nothing(tmp_path, error):
    def fail(folder: Path):
        with new_store(folder) as building:
            (building / "frames" / "s.npy").write_bytes(b"half")
            raise error

    with pytest.raises(error):
        fail(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    before = write(tmp_path / "old")
    with pytest.raises(error):
        fail(tmp_path / "old")
    assert open_frames(tmp_path / "old").dataset == before
    np.testing.assert_array_equal(open_frames(tmp_path / "old").frames("frames/s.npy"), ROWS)
    assert names(tmp_path / "old") == {"dataset.json", "content-1"}


def write_older(folder: Path, **arguments) -> Dataset:
    """A store as it was before `dataset.json` named the content."""
    dataset = write(folder, **arguments)
    (folder / "dataset.json").unlink()
    for entry in (folder / "content-1").iterdir():
        entry.rename(folder / entry.name)
    (folder / "content-1").rmdir()
    described = json.loads((folder / "dataset.json").read_text())
    del described["content"]
    (folder / "dataset.json").write_text(json.dumps(described))
    return dataset


def test_an_older_store_is_read_and_replaced(tmp_path):
    dataset = write_older(tmp_path / "store", inputs={"a": 1})
    store = open_frames(tmp_path / "store")
    assert store.dataset == dataset
    np.testing.assert_array_equal(store.frames("frames/s.npy"), ROWS)
    assert is_complete(tmp_path / "store", {"a": 1}, force=False)
    assert write(tmp_path / "store").digest == dataset.digest
    assert names(tmp_path / "store") == {"dataset.json", "content-1"}
    np.testing.assert_array_equal(open_frames(tmp_path / "store").frames("frames/s.npy"), ROWS)


def test_a_store_that_was_replaced_while_it_was_open_gives_no_frames_of_the_other(tmp_path):
    write(tmp_path / "store")
    store = open_frames(tmp_path / "store")
    write(tmp_path / "store")
    with pytest.raises(ValueError, match=r"s\.npy is missing"):
        store.frames("frames/s.npy")


def test_a_store_that_is_replaced_while_it_is_opened_is_opened_again(tmp_path, monkeypatch):
    write(tmp_path / "store")
    read_table = frame_store.read_store_table

    def replaced_meanwhile(path: Path) -> pl.DataFrame:
        monkeypatch.setattr(frame_store, "read_store_table", read_table)
        write(tmp_path / "store", dataset=replace(DATASET, name="y"))
        return read_table(path)

    monkeypatch.setattr(frame_store, "read_store_table", replaced_meanwhile)
    assert open_frames(tmp_path / "store").dataset.name == "y"


@pytest.mark.parametrize("before", ["nothing", "store", "older"])
def test_a_process_killed_before_any_call_leaves_the_old_store_or_the_new(tmp_path, before):
    if before != "nothing":
        (write if before == "store" else write_older)(tmp_path / "before")
    write(tmp_path / "ready", dataset=replace(DATASET, name="y"))
    command = [sys.executable, "-m", "tests.videos.killed", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    kills, *outcomes = done.stdout.split()
    assert int(kills) > 40
    assert set(outcomes) == {"nothing" if before == "nothing" else "x", "y"}


def test_what_a_killed_process_left_is_removed(tmp_path):
    left = tmp_path / "store" / "content-3" / "frames" / ".half.npy.12345678.replacing"
    left.mkdir(parents=True)
    (tmp_path / "store" / ".writing").touch()
    assert not is_complete(tmp_path / "store", {}, force=False)
    write(tmp_path / "store")
    assert len(names(tmp_path / "store")) == 2
    assert [path.name for path in open_frames(tmp_path / "store").content.joinpath("frames").iterdir()] == ["s.npy"]


def test_two_writers_do_not_meet(tmp_path):
    with (
        pytest.raises(ValueError, match="another process is writing"),
        new_store(tmp_path / "store"),
        new_store(tmp_path / "store"),
    ):
        raise AssertionError("two writers met")
    assert not (tmp_path / "store").exists()


# ---- made before


def test_the_same_inputs_are_recognised(tmp_path):
    folder = tmp_path / "store"
    assert not is_complete(folder, {"a": 1}, force=False)
    write(folder, inputs={"a": (1, 2)}, skipped=3)
    assert is_complete(folder, {"a": (1, 2)}, force=False)
    assert not is_complete(folder, {"a": (1, 2)}, force=True)
    assert read_ingest(folder).skipped == 3
    with pytest.raises(ValueError, match=r"other inputs.*--force"):
        is_complete(folder, {"a": (1, 3)}, force=False)
    assert not is_complete(folder, {"a": (1, 3)}, force=True)


def test_other_peoples_files_are_safe(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(ValueError, match="holds no frame store"):
            is_complete(tmp_path, {}, force)
    with pytest.raises(ValueError, match="is a file"):
        is_complete(tmp_path / "notes.txt", {}, force=False)


def test_a_folder_that_is_no_store_loses_no_file_of_that_name(tmp_path):
    (tmp_path / "frames").mkdir()
    with pytest.raises(ZeroDivisionError), new_store(tmp_path):
        raise ZeroDivisionError
    assert names(tmp_path) == {"frames"}


# ---- the index


def test_the_last_of_a_repeated_judgment_holds(tmp_path):
    write(
        tmp_path / "store",
        judgments=pl.concat([JUDGMENTS, JUDGMENTS.head(1).with_columns(relevance=pl.lit(0, pl.Int64))]),
    )
    assert open_frames(tmp_path / "store").judgments["relevance"].to_list() == [0, 0]


def test_frames_of_nobody_are_removed(tmp_path):
    with new_store(tmp_path / "store") as building:
        for name in ("s", "unused"):
            with new_frames(building / f"frames/{name}.npy", "uint8", 3) as frames_file:
                frames_file.append(ROWS)
        write_index(building, DATASET, TABLE, JUDGMENTS, Ingest({}))
    assert names(tmp_path / "store" / "content-1" / "frames") == {"s.npy"}


def test_the_digest_tells_what_matters_and_nothing_else(tmp_path):
    def digest(**changed) -> str:
        name = str(len(list(tmp_path.iterdir())))
        return write(tmp_path / name, **changed).digest

    original = digest()
    assert len(original) == 32
    elsewhere = TABLE.reverse().with_columns(file=pl.Series(["frames/b.npy", "frames/a.npy"]), first_frame=0)
    same = [digest(videos=elsewhere), digest(judgments=JUDGMENTS.reverse()), digest(inputs={"a": 1}, skipped=2)]
    assert set(same) == {original}
    other = [
        digest(videos=TABLE.with_columns(content=pl.lit("3" * 64))),
        digest(videos=TABLE.with_columns(split=pl.lit("holdout"))),
        digest(videos=TABLE.with_columns(classes=pl.Series([[1], [0]]))),
        digest(judgments=JUDGMENTS.with_columns(relevance=1)),
        digest(judgments=JUDGMENTS.head(1)),
        digest(dataset=replace(DATASET, scored_classes=[0, 1])),
        digest(dataset=replace(DATASET, unrated_ends=(1, 0))),
        digest(dataset=replace(DATASET, modalities={"audio": 1, "rgb": 2})),
    ]
    assert len({original, *other}) == 1 + len(other)
