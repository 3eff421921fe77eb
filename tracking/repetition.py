"""Run a stage again in a store of its own, with the runs that it builds on, and compare the results."""

import hashlib
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlparse

from tracking import metrics, runs
from tracking.lineage import Origin
from tracking.operations import create_run, log_metrics, log_params
from tracking.runs import Record, find_runs, get_run
from tracking.store import client, local_folder

TRAINING, SCORING = ("pretrain", "finetune", "infer"), ("merge", "optimize", "fuse")
# The artifacts that are the result of a stage; merge has one folder per member, and a search its weights.
RESULTS = {
    "pretrain": ("checkpoint",),
    "finetune": ("checkpoint",),
    "infer": ("predictions",),
    "fuse": ("lists.parquet", "segments.parquet"),
}
KEPT = ("--data", "--device", "--precision", "--accumulate", "--compile")  # flags of training that a repetition needs


def repeat(origin: Origin) -> tuple[dict[str, str], dict[str, str]]:
    """The results of a finished stage and of its repetition: file -> SHA-256, or metric -> value.

    The repetition runs in a temporary SQLite store in the store's local folder: no run, checkpoint or artifact of the
    store is changed. ValueError if the run cannot be repeated, RuntimeError if its repetition fails.
    """
    record = origin.record
    assert record is not None
    stage = record.tags.get(runs.STAGE, "")
    if stage not in (*TRAINING, *SCORING) or record.status != "FINISHED":
        what = f"{record.status} {stage or record.name}"
        raise ValueError(f"the run {record.run_id} ({what}) cannot be checked; give a finished stage of a line-up")
    if (count := record.params.get("processes", "1")) != "1":
        raise ValueError(f"the run {record.run_id} was trained by {count} processes; repeat it by hand with torchrun")
    if gone := [part.run_id for part in origin.walk() if part.record is None]:
        raise ValueError(f"the run {record.run_id} builds on {gone[0]}, which is not in the store any more")
    before = results(record)
    local_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="repetition-", dir=local_folder()) as folder:
        wanted = ("checkpoint",) if stage in TRAINING else ("predictions", "weights.json")
        upstream = {part.run_id: part.record for part in origin.walk() if part.record and part is not origin}
        artifacts = {
            run.run_id: {name: run.artifact(name) for name in wanted if run.has_artifact(name)}
            for run in upstream.values()
        }
        command = command_of(record, upstream)
        with _store(Path(folder)):
            ids: dict[str, str] = {}
            for run in sorted(upstream.values(), key=lambda run: run.start):
                ids[run.run_id] = _copy(run, artifacts[run.run_id], ids)
            _execute(command)
            tags = {name: record.tags[name] for name in (runs.STAGE, runs.SPLIT, runs.MEMBER) if name in record.tags}
            made = [
                run for run in find_runs(record.experiment, finished=True, **tags) if run.run_id not in ids.values()
            ]
            return before, results(made[0])


def results(record: Record) -> dict[str, str]:
    """What a stage's run has made: file -> SHA-256; of a search, its weights and their MAP."""
    stage = record.tags[runs.STAGE]
    if stage == "optimize":
        names = (metrics.K, metrics.BEST_MAP)
        values = {name: value for name, value in record.metrics.items() if name in names}
        values |= {metrics.weight(name): share for name, share in metrics.weights(record.metrics).items()}
        return {name: repr(value) for name, value in sorted(values.items())}
    digests = {}
    for name in RESULTS.get(stage, record.members):
        path = record.artifact(name)
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        for file in files:
            with file.open("rb") as content:
                digests[str(Path(name) / file.relative_to(path))] = hashlib.file_digest(content, "sha256").hexdigest()
    return digests


def command_of(record: Record, upstream: Mapping[str, Record]) -> list[str]:
    """The command that runs one stage again, whichever command made it."""
    tags, params = record.tags, record.params
    stage = tags[runs.STAGE]
    split = ["--split", tags[runs.SPLIT]] if runs.SPLIT in tags else []
    if stage in TRAINING:
        words = ["training", stage, tags[runs.MEMBER], "--lineup", tags[runs.LINEUP]]
        return [sys.executable, "-m", *words, *_kept_flags(tags.get(runs.COMMAND, "")), *split, "--force"]
    words = ["scoring", "tracked", stage, "--experiment", record.experiment, "--lineup", tags[runs.LINEUP], *split]
    for member in record.members:
        words += ["--member", member]
    by = [params.get("by"), *(run.params.get("by") for run in upstream.values() if run.tags[runs.STAGE] == "optimize")]
    words += ["--by", next((value for value in by if value), "rank")]
    if stage == "optimize":
        words += ["--judgments", str(record.artifact("judgments.parquet"))]
        for flag, name in (("trials", "trials"), ("seed", "seed"), ("polish", "polish"), ("shrink", "shrinkage")):
            words += [f"--{flag}", params[name]]
    if stage == "fuse":
        words += ["--k-constant", repr(record.metrics[metrics.K])]
        if not params.get("optimize_run"):
            shares = metrics.weights(record.metrics).items()
            words += ["--weights", ",".join(f"{member}={share!r}" for member, share in shares)]
    return [sys.executable, "-m", *words, "--force"]


def _kept_flags(command: str) -> list[str]:
    words, kept = shlex.split(command), []
    for i, word in enumerate(words):
        if word.partition("=")[0] in KEPT:
            kept += [word] if "=" in word or word == "--compile" else words[i : i + 2]
    return kept


@contextmanager
def _store(folder: Path) -> Iterator[None]:
    """Within it, and in the processes it starts, the store is a new one in `folder`."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    try:
        yield
    finally:
        del os.environ["MLFLOW_TRACKING_URI"]
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


def _copy(record: Record, artifacts: Mapping[str, Path], ids: Mapping[str, str]) -> str:
    """Copy a finished run into the store in force, its artifacts as symbolic links; returns its id there.

    It keeps the key by which stages that build on it know it; ids in its params are replaced by `ids`.
    """
    start = int(record.start.timestamp() * 1000)
    tags = {runs.KEY: record.run_id, **record.tags}
    run_id = create_run(record.experiment, record.name, tags, start=start)
    params = {}
    for name, value in record.params.items():
        params[name] = ",".join(ids.get(word, word) for word in value.split(","))
    log_params(run_id, params)
    log_metrics(run_id, [(name, value, start, 0) for name, value in record.metrics.items()])
    client().set_terminated(run_id, "FINISHED")
    folder = Path(unquote(urlparse(get_run(run_id).artifact_uri).path))
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in artifacts.items():
        (folder / name).symlink_to(path.absolute())
    return run_id


def _execute(command: list[str]) -> None:
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise RuntimeError(f"the repetition failed (exit code {done.returncode}): {shlex.join(command)}")
