import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from scoring.fusion.fusion import MEMBER_K, SHIFT_K, fuse
from scoring.lists.opening import read_submission
from scoring.lists.ranking import rank_scores
from scoring.lists.writing import write_submission
from scoring.measures.average_precision import ranks_of_blocks
from scoring.measures.bootstrap import Bootstrap
from tests.scoring.generated import ids_of, judgments_of, submission_of
from videos.dataset import Dataset
from videos.judgments import Judgments

ONE = {1: ["a:0", "b:0", "c:0"], 2: ["d:0", "a:0"]}
TWO = {1: ["c:0", "a:0"], 2: ["a:0", "b:0"]}
RELEVANCE = {(1, "a:0"): 1, (1, "b:0"): 0, (1, "c:0"): 1, (2, "a:0"): 1, (2, "d:0"): 0}


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The working folder, with one.csv, two.csv and judgments.csv in it."""
    monkeypatch.chdir(tmp_path)
    write_submission(submission_of(ONE), tmp_path / "one.csv")
    write_submission(submission_of(TWO), tmp_path / "two.csv")
    judgments_of(RELEVANCE).write_csv(tmp_path / "judgments.csv")
    return tmp_path


def run(*args: str, **options) -> subprocess.CompletedProcess:
    folder = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    environment = {**os.environ, "PYTHONPATH": folder}
    return subprocess.run(
        [sys.executable, "-m", "scoring", *args],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        **options,
    )


def test_evaluate_prints_json(files):
    done = run("evaluate", "one.csv", "judgments.csv", "--json", cwd=files)
    assert done.returncode == 0, done.stderr
    first, second = (1 + 2 / 3) / 2, 1 / 2
    ranks = ranks_of_blocks([submission_of(ONE)], Judgments(judgments_of(RELEVANCE)))
    measured = Bootstrap(Judgments(judgments_of(RELEVANCE))).measure(*ranks)
    assert json.loads(done.stdout) == {
        "map": pytest.approx((first + second) / 2, abs=1e-15),
        "low": measured.interval[0],
        "high": measured.interval[1],
        "classes": 2,
        "positives": 3,
        "judged": 5,
        "retrieved": 5,
        "unit": "video",
        "units": 4,
        "per_class": {"1": pytest.approx(first), "2": pytest.approx(second)},
    }


def test_a_fault_is_one_sentence_and_exit_code_1(files):
    (files / "broken.csv").write_text("Class,Segments\n1,a:0\n1,b:0\n")
    done = run("evaluate", "broken.csv", "judgments.csv", cwd=files)
    assert done.returncode == 1
    assert done.stderr == "error: broken.csv: class 1 is on lines 2 and 3; keep one of them\n"
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["evaluate", "compare", "fuse", "optimize", "merge", "check"])
def test_help_and_usage(command, scoring):
    code, out, _ = scoring(command, "--help")
    assert code == 0
    assert "SUBMISSION" in out
    assert scoring(command, "--no-such-flag")[0] == 2


def test_evaluate_in_words(scoring, files):
    code, out, _ = scoring("evaluate", "one.csv", "judgments.csv", "--k", "1")
    assert code == 0
    assert "MAP@1 0.250000 over 2 classes (strict)" in out
    assert "5 pairs judged, 3 of them positive; 2 of the judged are retrieved" in out
    write_submission(submission_of({1: ["c:0", "a:0"]}), files / "part.parquet")
    assert "MAP@100000 0.500000 over 2" in scoring("evaluate", "part.parquet", "judgments.csv")[1]
    assert "MAP@100000 1.000000 over 1" in scoring("evaluate", "part.parquet", "judgments.csv", "--mode", "google")[1]


def test_evaluate_trec(scoring, files):
    (files / "run").write_text("1 Q0 x 1 2.0 t\n1 Q0 y 2 1.0 t\n")
    (files / "qrels").write_text("1 0 y 1\n")
    code, out, _ = scoring("evaluate", "run", "qrels", "--format", "trec", "--json")
    assert (code, json.loads(out)["map"]) == (0, 1.0)


@pytest.mark.parametrize("out", ["fused.csv", "fused.csv.gz", "fused.parquet", "fused"])
def test_fuse_writes_every_form(scoring, files, out):
    assert (
        scoring("fuse", "one.csv", "two.csv", "--out", out, "--weights", "1,3", "--k-constant", "1", "--top", "2")[0]
        == 0
    )
    pair = {"one": submission_of(ONE), "two": submission_of(TWO)}
    assert ids_of(read_submission(files / out)) == ids_of(fuse(pair, {"one": 1, "two": 3}, 1, 2))


def test_fuse_takes_weights_by_name_and_k_from_the_file(scoring, files):
    (files / "weights.json").write_text('{"k": 0.5, "weights": {"two": 0.9, "one": 0.1}}')
    pair = {"one": submission_of(ONE), "two": submission_of(TWO)}
    assert scoring("fuse", "one.csv", "two.csv", "--out", "x.csv", "--weights", "weights.json")[0] == 0
    assert ids_of(read_submission(files / "x.csv")) == ids_of(fuse(pair, {"one": 0.1, "two": 0.9}, 0.5))
    assert scoring("fuse", "two.csv", "one.csv", "--out", "y.csv")[0] == 0
    assert ids_of(read_submission(files / "y.csv")) == ids_of(fuse(pair, None, MEMBER_K))


def test_fuse_warns_of_a_class_without_a_vote(scoring, files, caplog):
    write_submission(submission_of({1: ["a:0"]}), files / "part.csv")
    assert scoring("fuse", "one.csv", "part.csv", "--out", "x.csv")[0] == 0
    assert "part lacks 1 class that others have" in caplog.text


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["one.csv", "nowhere.csv", "--out", "x.csv"], "nowhere.csv does not exist"),
        (["one.csv", "one.csv", "--out", "x.csv"], "two submissions are named one"),
        (["one.csv", "two.csv", "--out", "x.csv", "--weights", "1"], "1 numbers for 2 submissions"),
        (["one.csv", "two.csv", "--out", "x.csv", "--weights", "1,b"], "neither numbers"),
        (["one.csv", "two.csv", "--out", "x.csv", "--weights", "1,-1"], "weight of two is -1"),
        (["one.csv", "two.csv", "--out", "x.csv", "--weights", "nan,1"], "weight of one is nan"),
        (["one.csv", "two.csv", "--out", "x.csv", "--weights", "nowhere.json"], "nowhere.json"),
        (["one.csv", "two.csv", "--out", "x.csv", "--k-constant", "-1"], "k is -1"),
        (["one.csv", "two.csv", "--out", "x.csv", "--top", "0"], "--cutoff is 0"),
        (["one.csv", "two.csv", "--out", "x.txt"], "no known format"),
        (["--out", "x.csv"], "give at least one submission"),
        (["one.csv", "two.csv", "--out", "x.csv", "--weights", "one=1,3"], "has a number without a name"),
        (["one.csv", "two.csv", "--out", "x.csv", "--weights", "one=1,one=3"], "names a member twice"),
        (["one.csv", "two.csv", "--out", "x.csv", "--weights", "one=1,three=3"], "no weight for ['two']"),
    ],
)
def test_fuse_refuses(scoring, files, args, complaint):
    before = sorted(path.name for path in files.iterdir())
    code, out, err = scoring("fuse", *args)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert complaint in err
    assert sorted(path.name for path in files.iterdir()) == before


@pytest.fixture
def many(files):
    """Two members and judgments of thirty videos in the working folder."""
    rng = np.random.default_rng(0)
    ids = np.array([f"v{i:02}:{5 * j}" for i in range(30) for j in range(2)])
    truth = rng.normal(size=len(ids))
    for name, noise in (("good", 0.5), ("poor", 1.5)):
        ranked = ids[np.argsort(-truth - noise * rng.normal(size=len(ids)))]
        write_submission(submission_of({1: ranked}), files / f"{name}.csv")
    judgments_of({(1, s): int(value > 0.5) for s, value in zip(ids, truth, strict=True)}).write_csv(files / "rated.csv")
    return files


@pytest.mark.frameworks
def test_optimize_writes_what_fuse_and_evaluate_confirm(scoring, many):
    flags = ["--judgments", "rated.csv", "--trials", "6", "--seed", "3"]
    code, out, err = scoring("optimize", "good.csv", "poor.csv", *flags, "--polish", "20", "--out", "w.json", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["map"] >= max(found["equal_weights"], *found["members"].values())
    assert sum(found["weights"].values()) == pytest.approx(1)
    assert found["interval"][0] < found["map"] < found["interval"][1]
    assert set(found["cross_validated"]) == {"fitted", "shrunk", "equal_weights", "best_member"}
    assert found["better_than_best_member"]["map"] >= 0
    assert set(found["leave_one_out"]) <= {"good", "poor"}
    trials = pl.read_parquet(many / "w.trials.parquet")
    assert trials["map"].max() == found["map"]
    assert trials["source"].to_list().count("climb") == 20
    assert scoring("fuse", "good.csv", "poor.csv", "--weights", "w.json", "--out", "fused.parquet")[0] == 0
    assert json.loads(scoring("evaluate", "fused.parquet", "rated.csv", "--json")[1])["map"] == found["map"]


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["good.csv", "--trials", "0"], "--trials is 0; a search needs at least 1"),
        (["good.csv", "--polish", "-1"], "--polish is -1"),
        (["good.csv", "--seed", "-1"], "--seed is -1"),
        (["good.csv", "--shrink", "0.3"], "--shrink is 0.3; choose 0"),
        (["elsewhere.csv"], "the members have none of the classes with positives"),
        (["elsewhere.csv", "--mode", "google"], "the members have none of the classes with positives"),
    ],
)
@pytest.mark.frameworks
def test_a_search_that_is_refused_leaves_nothing(scoring, many, args, complaint):
    write_submission(submission_of({99: ["v00:0"]}), many / "elsewhere.csv")
    before = sorted(path.name for path in many.iterdir())
    code, out, err = scoring("optimize", *args, "--judgments", "rated.csv", "--out", "w.json")
    assert (code, out) == (1, "")
    assert complaint in err
    assert sorted(path.name for path in many.iterdir()) == before


@pytest.mark.frameworks
def test_optimize_in_words(scoring, many):
    flags = ["--judgments", "rated.csv", "--trials", "1", "--out", "w.json"]
    code, out, err = scoring("optimize", "good.csv", "poor.csv", *flags)
    assert code == 0, err
    assert "own MAP" in out
    assert "Best member: good alone." in out
    assert (
        "on half of the 30 videos (by a short coordinate ascent instead of the search), scored on the other half."
        in out
    )


def test_merge_files(scoring, files):
    segments = pl.Series(["a:0", "b:0", "c:0"])
    for number, scores in enumerate(([0.9, 0.5, 0.1], [0.2, 0.7, 0.3])):
        predictions = rank_scores(np.array(scores, dtype=np.float32).reshape(-1, 1), [1], segments)
        write_submission(predictions, files / f"shift{number}")
    assert scoring("merge", "shift0", "shift1", "--out", "ranks.csv")[0] == 0
    shifts = {name: read_submission(files / name) for name in ("shift0", "shift1")}
    assert ids_of(read_submission(files / "ranks.csv")) == ids_of(fuse(shifts, None, SHIFT_K))
    assert scoring("merge", "shift0", "shift1", "--out", "scores", "--by", "score")[0] == 0
    # b: 0.6, a: 0.55, c: 0.2
    assert ids_of(read_submission(files / "scores")) == {1: ["b:0", "a:0", "c:0"]}
    code, _, err = scoring("merge", "one.csv", "two.csv", "--out", "x.csv", "--by", "score")
    assert code == 1
    assert "merge these by rank" in err


@pytest.fixture
def data(files):
    """A frame store's description: two test videos of three segments in all, two scored classes."""
    folder = files / "data"
    folder.mkdir()
    Dataset("tiny", {"rgb": 2}, "uint8", 5, True, 300, "roll", ["x", "y", "z"], [1, 2], "digest").write(folder)
    videos = {"video_id": ["a", "b"], "split": ["test"] * 2, "file": ["f"] * 2, "first_frame": [0, 9], "frames": [9, 3]}
    pl.DataFrame(videos).write_parquet(folder / "videos.parquet")
    return folder


def test_check_accepts_a_complete_submission(scoring, files, data):
    whole = ["a:5", "a:0", "b:0"]
    write_submission(submission_of({1: whole, 2: whole[:2]}), files / "whole.csv")
    code, out, _ = scoring("check", "whole.csv", "--data", "data")
    assert (code, out) == (0, "1 class with fewer segments than the 3 possible: 2\nwhole.csv is complete\n")


def test_check_names_what_is_wrong(scoring, files, data):
    write_submission(submission_of({1: ["a:0", "c:0"], 3: []}), files / "wrong.csv")
    code, out, _ = scoring("check", "wrong.csv", "--data", "data", "--json")
    found = json.loads(out)
    assert code == 1
    assert [fault.partition(":")[0] for fault in found["faults"]] == [
        "1 scored class missing, each of which counts 0",
        "1 class not scored",
        "segments that the test split does not have, such as c",
        "1 class with nothing retrieved",
    ]
    assert (
        "no segments in the split holdout" in scoring("check", "wrong.csv", "--data", "data", "--split", "holdout")[2]
    )
    assert "holds no dataset.json" in scoring("check", "wrong.csv", "--data", ".")[2]
    (data / "videos.parquet").write_text("damaged")
    assert "make the frame store again" in scoring("check", "wrong.csv", "--data", "data")[2]
    (data / "dataset.json").write_text('{"name": "x"}')
    assert "make the frame store again" in scoring("check", "wrong.csv", "--data", "data")[2]


def test_check_against_a_sample_or_lists_of_ids_and_classes(scoring, files):
    whole = ["a:5", "a:0", "b:0"]
    write_submission(submission_of({1: whole, 2: whole}), files / "sample.csv")
    write_submission(submission_of({1: ["a:0", "c:0"], 3: whole}), files / "wrong.csv")
    (files / "ids.txt").write_text("a:0\na:5\nb:0\n")
    (files / "classes.txt").write_text("1\n2\n")
    for flags in (["--sample", "sample.csv"], ["--ids", "ids.txt", "--classes", "classes.txt"]):
        assert scoring("check", "sample.csv", *flags)[:2] == (0, "sample.csv is complete\n")
        code, out, _ = scoring("check", "wrong.csv", *flags, "--json")
        assert code == 1
        faults = json.loads(out)["faults"]
        assert faults[0] == "1 scored class missing, each of which counts 0: 2"
        assert faults[1] == "1 class not scored: 3"
        assert faults[2].endswith("such as c:0 (class 1)")
    assert "give --data DIR, --sample FILE" in scoring("check", "sample.csv")[2]
    assert "give --data DIR, --sample FILE" in scoring("check", "sample.csv", "--ids", "ids.txt")[2]


def test_version_is_that_of_the_project(scoring, files):
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert scoring("--version") == (0, f"{project['version']}\n", "")


@pytest.mark.frameworks
def test_what_was_found_is_safe_before_it_is_logged(scoring, many, store, monkeypatch):
    def fail(*_, **__):
        raise ValueError("no server")

    monkeypatch.setattr("scoring.tracked.logs.log_search", fail)
    flags = ["--judgments", "rated.csv", "--trials", "2", "--out", "w.json", "--log"]
    assert scoring("optimize", "good.csv", "poor.csv", *flags)[0] == 1
    assert json.loads((many / "w.json").read_text())["weights"].keys() == {"good", "poor"}
    assert (many / "w.trials.parquet").exists()


@pytest.mark.frameworks
def test_log_is_asked_for(scoring, many, store):
    from tracking import runs

    scoring("evaluate", "good.csv", "rated.csv")
    assert runs.find_runs("files") == []
    assert scoring("evaluate", "good.csv", "rated.csv", "--log")[0] == 0
    assert scoring("fuse", "good.csv", "poor.csv", "--out", "fused", "--log")[0] == 0
    flags = ["--judgments", "rated.csv", "--trials", "2", "--out", "w.json", "--log"]
    assert scoring("optimize", "good.csv", "poor.csv", *flags)[0] == 0
    logged = {run.tags["stage"]: run for run in runs.find_runs("files")}
    assert set(logged) == {"evaluate", "fuse", "optimize"}
    assert logged["evaluate"].metrics["judged"] == 60
    assert read_submission(logged["fuse"].artifact("fused")).classes == [1]
    assert json.loads(logged["optimize"].artifact("weights.json").read_text())["weights"].keys() == {"good", "poor"}
    assert logged["optimize"].artifact("trials.parquet").exists()
