"""Where runs live: SQLite under `mlruns/` by default, whatever MLFLOW_TRACKING_URI names otherwise."""

import logging
import os
import re
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from tracking import views

if TYPE_CHECKING:
    from mlflow import MlflowClient

ROOT = Path(__file__).resolve().parents[1]
PROCESS = re.compile(r"\d+@(?P<seconds>[\d.]+), (?P<start>.+)")  # as `describe_process` writes it
CLOCK = 2.0  # seconds by which the time of the boot may differ between two readings
REMEDY = "set it to a database (sqlite:///DIR/mlflow.db) or a server (http://...)"


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or the SQLite store of this repository; SQLite paths are made absolute.

    ValueError for what can be no store: a folder of files, which MLflow 3 no longer writes, and SQLite without a file.
    Other addresses are checked when the store is opened (`client`).
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{ROOT / 'mlruns' / 'mlflow.db'}"
    scheme, _, rest = uri.partition(":")
    if uri.startswith("sqlite:///") and rest.strip("/"):
        return f"sqlite:///{Path(uri.removeprefix('sqlite:///')).absolute()}"
    if "://" in uri and scheme not in ("file", "sqlite"):
        return uri
    if scheme == "file" or ":" not in uri:
        folder = unquote(rest.removeprefix("//").removeprefix("localhost")) if scheme == "file" else uri
        remedy = f"set it to a database (sqlite:///{Path(folder) / 'mlflow.db'}) or a server (http://...)"
        raise ValueError(f"MLFLOW_TRACKING_URI={uri} is a folder, which MLflow no longer writes; {remedy}")
    raise ValueError(f"MLFLOW_TRACKING_URI={uri} names no store; {REMEDY}")


def client() -> "MlflowClient":
    """The store's client, opened once a process; a fresh SQLite store is created and migrated on the way.

    Runs that a killed process of this host left RUNNING are closed on the way (`reap`).
    """
    return _open(tracking_uri())


def experiment_id(name: str) -> str:
    """The id of the experiment `name`, which is made where there is none yet."""
    from mlflow.exceptions import MlflowException

    store, uri = client(), tracking_uri()
    experiment = store.get_experiment_by_name(name)
    if experiment is None:
        # MLflow's own default lies relative to the working directory of whoever comes first.
        folder = _artifacts(uri, name)
        try:
            number = store.create_experiment(name, artifact_location=folder and folder.as_uri())
            for key, value in views.tags(name, number).items():
                store.set_experiment_tag(number, key, value)
            return number
        except MlflowException:
            experiment = store.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage != "active":
        raise ValueError(
            f"the experiment {name} was deleted in {uri}; bring it back with `mlflow experiments restore "
            f"--experiment-id {experiment.experiment_id}` or remove it for good with `mlflow gc`"
        )
    return experiment.experiment_id


def reap() -> list[str]:
    """Mark RUNNING runs of this host whose process is gone KILLED; their ids.

    A process that dies by SIGKILL or for lack of memory has no time to say so itself.
    """
    return _reap(client())


@contextmanager
def store_lock() -> Iterator[None]:
    """Hold the SQLite store for something that must happen once; a server orders its writers by itself."""
    with _lock(tracking_uri()):
        yield


def describe_process(pid: int) -> str | None:
    """`<pid>@<seconds from boot to its start>, <its start in UTC>`, or None if no such process runs.

    A pid alone is given again to a later process. The first number does not change when the clock is set; the time
    tells whether the machine has been booted since.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return None
        start = process.create_time()
    except psutil.NoSuchProcess:
        return None
    return f"{pid}@{start - psutil.boot_time():.2f}, {datetime.fromtimestamp(start, UTC):%Y-%m-%dT%H:%M:%SZ}"


@cache
def _open(uri: str) -> "MlflowClient":
    quieten()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    # Several processes that migrate a fresh SQLite store at once leave it broken for good, so the first access is
    # one at a time.
    with _lock(uri), _few_retries():
        try:
            file = _sqlite_file(uri)
            if file is not None:
                # Readers do not wait for a writer then; the mode stays with the file.
                with closing(sqlite3.connect(file)) as connection:
                    connection.execute("PRAGMA journal_mode=WAL")
            store = MlflowClient(uri)
            store.search_experiments(max_results=1)
        except (MlflowException, sqlite3.Error, ImportError) as error:  # ImportError: the driver of another database
            raise RuntimeError(
                f"the tracking store {uri} does not answer: {error}; check MLFLOW_TRACKING_URI: {REMEDY}"
            ) from error
    _reap(store)
    return store


def quieten() -> None:
    """Before mlflow is imported: no telemetry, no bars, no migration log in the middle of a stage's output."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def _few_retries() -> Iterator[None]:
    """A server that is not there is found out in seconds; later calls keep MLflow's patience of minutes."""
    name = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
    before = os.environ.get(name)
    os.environ[name] = before or "2"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


@contextmanager
def _lock(uri: str) -> Iterator[None]:
    from filelock import FileLock

    file = _sqlite_file(uri)
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock"):
        yield


def _reap(store: "MlflowClient") -> list[str]:
    host = socket.gethostname()
    running = store.search_runs(
        [experiment.experiment_id for experiment in store.search_experiments()],
        filter_string=f"attributes.status = 'RUNNING' and tags.host = '{host}'",
        max_results=1000,
    )
    gone = [run.info.run_id for run in running if not _is_alive(run.data.tags.get("pid", ""))]
    for run_id in gone:
        store.set_tag(run_id, "error", "the process was killed before it could say why")
        store.set_terminated(run_id, "KILLED")
    return gone


def _is_alive(process: str) -> bool:
    """Whether the process that a tag describes (`describe_process`) still runs."""
    import psutil

    pid = process.partition("@")[0]
    current = describe_process(int(pid)) if pid.isdigit() else None
    if current is None:
        return False
    before, now = PROCESS.fullmatch(process), PROCESS.fullmatch(current)
    if before is None or now is None:  # a tag of an earlier version tells the pid alone
        return True
    was_booted_since = datetime.fromisoformat(before["start"]).timestamp() + CLOCK < psutil.boot_time()
    return abs(float(before["seconds"]) - float(now["seconds"])) < CLOCK and not was_booted_since


def local_folder() -> Path:
    """Where this machine keeps what belongs to the store but not in it, such as checkpoints of unfinished stages."""
    file = _sqlite_file(tracking_uri())
    return file.parent if file else ROOT / "mlruns"


def _sqlite_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _artifacts(uri: str, experiment: str) -> Path | None:
    """The folder of an experiment's artifacts, beside the database; None where a server decides."""
    file = _sqlite_file(uri)
    return file and file.parent / "artifacts" / re.sub(r"[^A-Za-z0-9._-]+", "-", experiment)
