"""Loaded by plain MLflow in a clean process, what was logged gives the predictions and the lists that were logged."""

import base64
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from scoring.commands.predict import predict
from scoring.lists.opening import read_submission
from scoring.weights.settings import SearchSettings
from tests.conftest import free_port
from tests.training.conftest import briefly
from tracking import runs
from tracking.registry import best_version, versions
from training import line_up, members
from training.fit.options import TorchOptions
from training.member import Member
from training.models.bert import BertConfig
from training.models.gated_netvlad import GatedNetVladConfig
from training.windows.sampler import Sampler
from videos.ingest import ingest_synthetic
from videos.store import FrameStore, open_frames

pytestmark = pytest.mark.slow

SMALL = (
    briefly(Member("bert", BertConfig(layers=1, heads=4, pooling="mean", intermediate=32), (-2, 0, 1))),
    briefly(
        Member("gated", GatedNetVladConfig(clusters=4, hidden=8, output=16), (-1, 0, 1), Sampler("frames")),
    ),
    replace(members.BOOSTED, config=members.BoostedConfig(("bert",), folds=2, rounds=10, block=5, min_data=2)),
)

# Runs in a folder of its own, with MLflow and the frameworks alone: argv is the folder of its inputs.
CLEAN = """
import json, sys
from pathlib import Path
import mlflow, numpy as np, pandas as pd
folder = Path(sys.argv[1])
frames = dict(np.load(folder / "frames.npz"))
table = pd.DataFrame({"video_id": list(frames), "frames": [array.tobytes() for array in frames.values()]})
ensemble = mlflow.pyfunc.load_model("models:/synthetic.small.ensemble@best").predict(table)
ensemble.to_parquet(folder / "ensemble.parquet")
levels = (np.arange(256) * (4 / 255) + (4 / 512 - 2)).astype(np.float32)
windows = {}
for video, array in frames.items():
    padded = np.zeros((-(-len(array) // 5) * 5, array.shape[1]), np.float32)
    padded[: len(array)] = levels[array]
    windows[video] = padded.reshape(-1, 5, array.shape[1])
everything = np.concatenate(list(windows.values()))
for member in ("bert", "gated"):
    model = mlflow.pyfunc.load_model(f"models:/synthetic.small.{member}@best")
    # One by one (twelve windows, and the rest at once), in sevens, all at once.
    for name, cuts in {"1": range(1, 13), "7": range(7, len(everything), 7), "all": ()}.items():
        parts = [model.predict(part) for part in np.split(everything, cuts)]
        np.save(folder / f"{member}-{name}.npy", np.concatenate(parts))
model = mlflow.pyfunc.load_model("models:/synthetic.small.boosted@best")
np.save(folder / "boosted.npy", np.concatenate([model.predict(window) for window in windows.values()]))
assert not [name for name in sys.modules if name.split(".")[0] in ("training", "scoring", "videos", "tracking")]
"""


@pytest.fixture(scope="module")
def world(migrated_store: Path, tmp_path_factory: pytest.TempPathFactory):
    """A line-up of three small members of three frameworks on generated videos, through every stage."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "mlruns").mkdir()
    (folder / "mlruns" / "mlflow.db").write_bytes(migrated_store.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}")
        patch.setitem(members.LINE_UPS, "small", lambda: SMALL)
        ingest_synthetic(folder / "data", videos=120, classes=5, jobs=1)
        line_up.run("small", folder / "data", search=SearchSettings(trials=6), force=False, options=TorchOptions())
        yield folder, open_frames(folder / "data")


def frames_of(store: FrameStore, split: str) -> dict[str, np.ndarray]:
    rows = store.split(split).iter_rows(named=True)
    return {
        row["video_id"]: np.array(store.frames(row["file"])[row["first_frame"] : row["first_frame"] + row["frames"]])
        for row in rows
    }


def test_in_a_clean_process_it_is_what_was_logged(world: tuple[Path, FrameStore], tmp_path: Path) -> None:
    _, store = world
    frames = frames_of(store, "holdout")
    np.savez(tmp_path / "frames.npz", **frames)  # pyright: ignore[reportArgumentType]
    subprocess.run([sys.executable, "-c", CLEAN, str(tmp_path)], cwd=tmp_path, check=True)

    fused = read_submission(runs.find_run("synthetic", stage="fuse", split="holdout").artifact("lists.parquet")).long()
    found = pl.read_parquet(tmp_path / "ensemble.parquet").sort("class_id", "rank")
    assert found["segment_id"].to_list() == fused.sort("class_id", "rank")["segment_id"].to_list()

    ids = [f"{video}:{start}" for video, array in frames.items() for start in range(0, len(array), 5)]
    scored = store.dataset.scored_classes
    for member in ("bert", "gated", "boosted"):
        predictions = runs.find_run("synthetic", member=member, stage="infer", split="holdout").artifact("predictions")
        segments = pl.read_parquet(predictions / "segments.parquet")["segment_id"]
        rows = pl.read_parquet(predictions / "shift0.parquet").explode("segments", "scores")
        logged = dict(
            zip(zip(rows["class_id"], segments.gather(rows["segments"]), strict=True), rows["scores"], strict=True)
        )
        names = ["boosted"] if member == "boosted" else [f"{member}-{size}" for size in (1, 7, "all")]
        for name in names:
            scores = np.load(tmp_path / f"{name}.npy")
            columns = range(len(scored)) if member == "boosted" else scored
            places = [(row, *pair) for row in range(len(ids)) for pair in zip(columns, scored, strict=True)]
            pairs = [(row, column, logged.get((c, ids[row]))) for row, column, c in places]
            known = [(scores[i, j], value) for i, j, value in pairs if value is not None]
            assert len(known) == len(logged)
            found, expected = np.array(known).T
            np.testing.assert_allclose(found, expected, atol=2e-6)


def test_predict_gives_the_lists_of_the_test_shards(world: tuple[Path, FrameStore], tmp_path: Path) -> None:
    folder, _ = world
    shards = next((folder / "data").rglob("test*.tfrecord")).parent
    predict("synthetic.small.ensemble", shards=(str(shards / "test*.tfrecord"),), out=tmp_path / "found")
    fused = runs.find_run("synthetic", stage="fuse", split="test")
    for name in ("submission.csv", "lists.parquet", "segments.parquet"):
        assert (tmp_path / "found" / name).read_bytes() == fused.artifact(name).read_bytes(), name
    with pytest.raises(ValueError, match="found exists already; choose a new folder"):
        predict("synthetic.small.ensemble", shards=("x",), out=tmp_path / "found")
    with pytest.raises(ValueError, match=r"no registered model x; there are .*synthetic\.small\.ensemble"):
        predict("x", shards=("x",), out=tmp_path / "other")


def test_each_is_registered_once_with_its_run(world: tuple[Path, FrameStore]) -> None:
    for member in ("bert", "gated", "boosted"):
        (version,) = versions(f"synthetic.small.{member}")
        assert version == best_version(version.name)
        assert version.run_id == runs.find_run("synthetic", member=member, stage="finetune").run_id
    (ensemble,) = versions("synthetic.small.ensemble")  # of both splits one
    assert ensemble.run_id == runs.find_run("synthetic", stage="fuse", split="holdout").run_id


def test_an_ensemble_is_served(world: tuple[Path, FrameStore], tmp_path: Path) -> None:
    _, store = world
    video, frames = next(iter(frames_of(store, "test").items()))
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/synthetic.small.ensemble@best"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    # As in an activated environment: MLflow starts the `uvicorn` that it finds.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with open(tmp_path / "log", "w") as log:
        server = subprocess.Popen(
            command, cwd=tmp_path, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    try:
        encoded = base64.b64encode(frames.tobytes()).decode()
        body = {"dataframe_split": {"columns": ["video_id", "frames"], "data": [[video, encoded]]}}
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        answer = _when_there(request, server)
    finally:
        if server.poll() is None:
            os.killpg(server.pid, 15)
        server.wait()
    rows = pl.DataFrame(answer["predictions"])
    assert set(rows["class_id"]) == set(store.dataset.scored_classes)
    assert len(rows) == len(store.dataset.scored_classes) * rows["segment_id"].n_unique()


def _when_there(request: urllib.request.Request, server: subprocess.Popen) -> dict:
    end = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.loads(answer.read())
        except urllib.error.URLError:
            assert server.poll() is None, "the server has ended"
            assert time.monotonic() < end
            time.sleep(0.5)


def test_other_shifts_are_another_ensemble(
    world: tuple[Path, FrameStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fine-tuned members are found again, and predict under their new shifts when they are served."""
    folder = tmp_path / "copy"
    shutil.copytree(world[0], folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}")
    before = runs.find_run("synthetic", member="bert", stage="finetune").run_id
    shifted = tuple(replace(member, shifts=(0, 1)) if member.name == "bert" else member for member in SMALL)
    monkeypatch.setitem(members.LINE_UPS, "small", lambda: shifted)
    line_up.run("small", folder / "data", search=SearchSettings(trials=6), force=False, options=TorchOptions())
    assert runs.find_run("synthetic", member="bert", stage="finetune").run_id == before
    assert len(versions("synthetic.small.ensemble")) == 2
    shards = next((folder / "data").rglob("test*.tfrecord")).parent
    predict("synthetic.small.ensemble/2", shards=(str(shards / "test*.tfrecord"),), out=tmp_path / "found")
    fused = runs.find_run("synthetic", stage="fuse", split="test")
    assert (tmp_path / "found" / "submission.csv").read_bytes() == fused.artifact("submission.csv").read_bytes()
