import os
import pickle
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from scoring.fusion.workers import Workers, fuse_in_blocks, ranks_in_blocks
from scoring.lists.ids import union_of_segments
from scoring.lists.opening import open_submissions, read_submission
from scoring.lists.writing import write_blocks, write_submission
from scoring.measures.average_precision import evaluate_ranks, mean_average_precision
from terminal.cli import main
from tests.scoring.generated import judgments_of, submission_of
from videos.judgments import Judgments

WEIGHTS = {"x": 2.0, "y": 1.0, "z": 0.0}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Three members over 40 classes, as CSV and coded; the third has other segments, and no weight."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    for name, first in (("x", 0), ("y", 10), ("z", 200)):
        ids = np.array([f"v{first + i:03}:{5 * (i % 3)}" for i in range(60)])
        submission = submission_of({c: rng.permutation(ids)[:50] for c in range(40)})
        write_submission(submission, folder / f"{name}.csv")
        write_submission(submission, folder / name)
    return folder


@pytest.fixture(scope="module")
def cluster():
    """A scheduler and two workers, each in its own process."""
    from distributed import LocalCluster

    options = {"threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with LocalCluster(n_workers=2, **options) as cluster:  # pyright: ignore[reportArgumentType]
        yield cluster.scheduler_address  # pyright: ignore[reportAttributeAccessIssue]


def workers_of(where, request) -> Workers:
    return Workers(jobs=2) if where == "processes" else Workers(scheduler=request.getfixturevalue("cluster"))


@pytest.mark.parametrize("where", ["processes", "cluster"])
@pytest.mark.parametrize("suffix", ["", ".csv"], ids=["coded", "csv"])
def test_the_same_bytes_wherever_it_is_worked_out(files, tmp_path, request, where, suffix):
    paths = [files / f"{name}{suffix}" for name in WEIGHTS]
    sources = open_submissions(paths)
    workers = workers_of(where, request)
    here, there = tmp_path / f"here{suffix}", tmp_path / f"there{suffix}"
    table = None if suffix else union_of_segments([source.segments for source in sources.values()])
    write_blocks(fuse_in_blocks(sources, weights=WEIGHTS, k=5.0, cutoff=45), table, here)
    fused = fuse_in_blocks(sources, weights=WEIGHTS, k=5.0, cutoff=45, workers=workers)
    write_blocks(fused, table, there)
    for name in ("lists.parquet", "segments.parquet") if not suffix else ("",):
        assert (there / name).read_bytes() == (here / name).read_bytes()

    judgments = judgments_of({(c, f"v{i:03}:{5 * (i % 3)}"): i % 2 for c in range(0, 45, 3) for i in range(5, 40, 4)})
    source, judged = next(iter(sources.values())), Judgments(judgments)
    ranks, present = ranks_in_blocks(source, judged, cutoff=40, workers=workers)
    evaluation = evaluate_ranks(ranks, present, Judgments(judgments))
    expected = mean_average_precision(read_submission(paths[0]), judgments, cutoff=40)
    assert (evaluation.map, evaluation.retrieved) == (expected.map, expected.retrieved)
    assert evaluation.per_class.equals(expected.per_class)


def test_a_fault_in_a_worker_is_a_sentence(tmp_path):
    (tmp_path / "bad.csv").write_text("Class,Segments\n" + "".join(f"{c},a b\tc\n" for c in range(3)))
    bad = open_submissions([tmp_path / "bad.csv"])
    with pytest.raises(ValueError, match="contain a tab"):
        list(fuse_in_blocks(bad, weights=None, k=5.0, cutoff=45, workers=Workers(jobs=2)))
    with pytest.raises(ValueError, match="--jobs is 0"):
        Workers(jobs=0)


KEPT = []


def grow(block: int) -> int:
    """Keep 400 MB, for the block that a process computes second; joblib looks at its memory once a second."""
    if block >= 2:
        KEPT.append(np.ones(50_000_000))
        time.sleep(1.1)
    return block


def test_a_process_that_has_grown_is_replaced():
    assert list(Workers(jobs=2).map(grow, range(6))) == list(range(6))


def die(block: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_ends_the_command_with_a_sentence(monkeypatch, capsys):
    def work() -> None:
        list(Workers(jobs=2).map(die, range(4)))

    monkeypatch.setattr(sys, "argv", ["program", "work"])
    with pytest.raises(SystemExit) as ended:
        main({"work": work, "rest": work}, "program", "A program.")
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert error == (
        "error: a process of this command was killed, probably because memory ran out; "
        "type the command again with fewer --jobs\n"
    )


@pytest.mark.parametrize("suffix", ["", ".csv", ".parquet", ".run"])
def test_an_opened_submission_is_opened_again_by_its_path(files, tmp_path, monkeypatch, suffix):
    """In every format; coded files that share a table of segments share it again."""
    paths = [tmp_path / f"{name}{suffix}" for name in ("x", "same")]
    for path in paths:
        write_submission(read_submission(files / "x"), path)
    monkeypatch.chdir(tmp_path)
    sources = open_submissions([Path(path.name) for path in paths], "trec")
    lists = {name: source.read(source.classes).long() for name, source in sources.items()}
    pickled = pickle.dumps(sources)
    assert len(pickled) < 1500
    monkeypatch.chdir(files)
    again = pickle.loads(pickled)
    for name, source in again.items():
        assert source.read(source.classes).long().equals(lists[name])
    if not suffix:
        assert again["x"].segments is again["same"].segments
    # A file that has changed since is not mixed with what was opened.
    changed = paths[0] / "lists.parquet" if not suffix else paths[0]
    os.utime(changed, ns=(0, 0))
    with pytest.raises(ValueError, match="has changed since it was opened"):
        pickle.loads(pickled)
