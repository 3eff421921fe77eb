"""Where runs are stored: SQLite under `mlruns/` by default, otherwise the store that MLFLOW_TRACKING_URI names."""

import logging
import os
import re
import shlex
import shutil
import socket
import sqlite3
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse, urlsplit

from files.replacing import replacing
from tracking import views
from tracking.sqlite_reading import read_locations

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

ROOT = Path(__file__).resolve().parents[1]
# Codes of MLflow's errors.
AWAY = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")
UNAUTHORIZED = ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED")
SILENCE = 20.0
_silent_until: dict[str, float] = {}  # address of a server -> time.monotonic()
TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"  # seconds
OLDEST = 3  # the major version of MLflow since which a server knows logged models


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or the SQLite store of this repository; SQLite paths are absolute, servers without password.

    ValueError for a folder of files, which MLflow 3 no longer writes, and for SQLite without a file. Other addresses
    are checked when the store is opened (`client`).
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{ROOT / 'mlruns' / 'mlflow.db'}"
    scheme = urlsplit(uri).scheme
    rest = uri.removeprefix(f"{scheme}:")
    if uri.startswith("sqlite:///") and rest.strip("/"):
        return f"sqlite:///{Path(uri.removeprefix('sqlite:///')).absolute()}"
    if scheme in ("http", "https") and "@" in urlsplit(uri).netloc:
        return uri.replace(f"{urlsplit(uri).netloc.rpartition('@')[0]}@", "", 1)
    if "://" in uri and scheme not in ("file", "sqlite"):
        return uri
    if scheme == "file" or ":" not in uri:
        folder = unquote(rest.removeprefix("//").removeprefix("localhost")) if scheme == "file" else uri
        raise ValueError(f"MLFLOW_TRACKING_URI={uri} is a folder, which MLflow no longer writes; {_remedy(folder)}")
    raise ValueError(f"MLFLOW_TRACKING_URI={without_password(uri)} names no store; {_remedy()}")


def without_password(text: str) -> str:
    """`text` with `***` in place of the user and password of each address."""
    return re.sub(r"://\S*@", "://***@", text)


def ui_address() -> str:
    """Where the MLflow UI of the store is: MLFLOW_UI, by default the tracking server, or `make ui` on this machine."""
    uri = tracking_uri()
    return (os.environ.get("MLFLOW_UI") or (uri if uri.startswith("http") else "http://127.0.0.1:5000")).rstrip("/")


class Away(RuntimeError):
    """The tracking server does not answer."""


def is_away(error: "MlflowException") -> bool:
    """Whether MLflow's error means that a server, or the database it asks, does not answer; SQLite always does."""
    return sqlite_file() is None and error.error_code in AWAY


def away(error: Exception) -> Away:
    """`error` as a sentence with the remedy; for SILENCE seconds the server is not asked again (`answers`)."""
    _silent_until[tracking_uri()] = time.monotonic() + SILENCE
    return Away(_no_answer(error))


def _no_answer(error: Exception) -> str:
    reason = str(error).partition("(Caused by ")[2] or str(error)  # MLflow repeats the request before it
    text = f"the tracking store {tracking_uri()} does not answer: {reason}; check MLFLOW_TRACKING_URI: {_remedy()}"
    return without_password(text)


def _refusal(error: "MlflowException") -> str | None:
    """The sentence for an error by which a server refuses its user; None for other errors."""
    what = f"the tracking server {without_password(tracking_uri())}"
    if error.error_code in UNAUTHORIZED:
        return (
            f"{what} refuses the user or the password; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "write them into MLFLOW_TRACKING_URI (http://USER:PASSWORD@HOST)"
        )
    if error.error_code == "PERMISSION_DENIED" and "Invalid Host header" in str(error):
        host = urlsplit(tracking_uri()).netloc
        return f"{what} does not know itself by the name {host}; start it with `mlflow server --allowed-hosts {host}`"
    if error.error_code == "PERMISSION_DENIED" or "InsufficientPrivilege" in str(error):  # of PostgreSQL
        reason = str(error).partition("\n")[0]
        return f"{what} does not allow this: {reason}; ask its administrator for the permission"
    return None


@contextmanager
def answers() -> Iterator[None]:
    """Within it, `Away` is raised in place of errors about a server that does not answer, and RuntimeError with the
    remedy in place of others that a user can do something about.

    Right after a server has not answered, `Away` is raised at once: a call to one that accepts and never answers takes
    20 s.
    """
    quieten()
    from mlflow.exceptions import MlflowException
    from requests import HTTPError, RequestException

    if time.monotonic() < _silent_until.get(tracking_uri(), 0):
        raise Away(f"the tracking store {without_password(tracking_uri())} has just not answered; try again later")
    try:
        yield
    except MlflowException as error:
        if is_away(error):
            raise away(error) from None
        if refusal := _refusal(error):
            raise RuntimeError(refusal) from None
        if error.error_code == "INTERNAL_ERROR":  # a damaged database, for instance
            raise RuntimeError(_damage(error)) from error
        raise
    except HTTPError as error:  # of an artifact, which MLflow transfers without its own errors
        if error.response is None or error.response.status_code != 413:
            raise away(error) from None
        raise RuntimeError(
            f"the tracking server {without_password(tracking_uri())}, or a proxy before it, refuses a file of this "
            "size; raise its limit (nginx: client_max_body_size), then type the command again"
        ) from None
    except RequestException as error:
        raise away(error) from None


def _damage(error: Exception) -> str:
    """The sentence for an error of a database, with the remedy for its reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("[SQL")]
    remedy = "if it is damaged, put back a copy, or save what it still has: `sqlite3 OLD .recover | sqlite3 NEW`"
    for reason, known in REMEDIES.items():
        if reason in str(error):
            remedy = known
    reason = lines[0].rstrip(".") if lines else type(error).__name__
    return without_password(f"the tracking store {tracking_uri()} cannot be read or written: {reason}; {remedy}")


REMEDIES = {  # by what SQLite says
    "disk is full": "free space on the disk, then type the command again",
    "readonly": "change the permissions of the file and its folder, or choose another MLFLOW_TRACKING_URI",
    "is not a database": "MLFLOW_TRACKING_URI names another file, or its content is lost: put back a copy",
    "unable to open": "check its folder and permissions, or choose another MLFLOW_TRACKING_URI",
    "is locked": "another program is writing to it; type the command again when that has ended",
}


def ask_again() -> None:
    """Ask a server again that has just not answered."""
    _silent_until.clear()


def client() -> "MlflowClient":
    """The store's client, opened once per process; creates and migrates a fresh SQLite store."""
    return _open(tracking_uri(), os.environ.get("MLFLOW_TRACKING_URI", ""))


def experiment_id(name: str) -> str:
    """The id of the experiment `name`, which is created if it does not exist."""
    from mlflow.exceptions import MlflowException

    store = client()
    experiment = store.get_experiment_by_name(name)
    if experiment is None:
        # MLflow's default location depends on the working directory of the first process.
        folder = artifacts_folder()
        location = folder and (folder / re.sub(r"[^A-Za-z0-9._-]+", "-", name)).as_uri()
        try:
            number = store.create_experiment(name, artifact_location=location)
            for key, value in views.tags(name, number).items():
                store.set_experiment_tag(number, key, value)
            return number
        except MlflowException:  # another process may have created it
            experiment = store.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage != "active":
        raise ValueError(
            f"the experiment {name} was deleted; bring it back with `{_mlflow()} experiments restore --experiment-id "
            f"{experiment.experiment_id}` or remove it for good with `{_mlflow()} gc`"
        )
    return experiment.experiment_id


def restore_command(run_id: str) -> str:
    """The command that brings a deleted run back."""
    return f"{_mlflow()} runs restore --run-id {run_id}"


def rename_command(number: str, name: str) -> str:
    """The command that gives the experiment with this id another name."""
    return f"{_mlflow()} experiments rename --experiment-id {number} --new-name {shlex.quote(name)}"


def _mlflow() -> str:
    return f"MLFLOW_TRACKING_URI={shlex.quote(without_password(tracking_uri()))} mlflow"


@contextmanager
def store_lock() -> Iterator[None]:
    """This machine's exclusive lock on the store: next to a SQLite file, in `local_folder` for a server."""
    file = sqlite_file() or local_folder() / re.sub(r"[^A-Za-z0-9._-]+", "-", without_password(tracking_uri()))
    with lock(Path(f"{file}.lock"), waiting=lambda: None):
        yield


@contextmanager
def lock(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """The exclusive lock that the file `path` is, which exists as long as somebody has it; `waiting` is called if that
    is another process."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(path)
    try:
        held.acquire(timeout=0)
    except Timeout:
        waiting()
        held.acquire()
    try:
        yield
    finally:
        # Unlinked before it is released: a process that waits for the old file notices and opens a new one.
        path.unlink(missing_ok=True)
        held.release()


@contextmanager
def uploading() -> Iterator[None]:
    """Within it, a server has ten minutes for an answer: it may store an artifact elsewhere before it gives one.

    RuntimeError with the file and the reason if a folder cannot be copied (shutil has a list of them).
    """
    before = os.environ.get(TIMEOUT, "120")
    os.environ[TIMEOUT] = "600"
    try:
        yield
    except shutil.Error as error:
        _, target, reason = error.args[0][0]
        remedy = "free space on the disk, or check its permissions; then type the command again"
        raise RuntimeError(f"{target} cannot be written: {reason}; {remedy}") from None
    finally:
        os.environ[TIMEOUT] = before


@cache
def _open(uri: str, given: str) -> "MlflowClient":
    """Open the store at `uri`, with the user and password in `given`, the address as the user set it."""
    quieten()
    # What a server that is away has missed is sent later (`tracking.outbox`), so nobody waits minutes for it.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault(TIMEOUT, "10")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    if uri.startswith("http") and urlsplit(given).password:  # MLflow prints its URI, but not these
        os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(urlsplit(given).username or "")
        os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(urlsplit(given).password or "")
    # Several processes that migrate a fresh SQLite store at once break it, hence the lock.
    with store_lock():
        try:
            file = sqlite_file()
            if file is not None:
                if not file.exists():
                    # Whole or not at all: a disk that is full would leave a part of the schema, for good.
                    with replacing(file) as temporary:
                        MlflowClient(f"sqlite:///{temporary}").search_experiments(max_results=1)
                # In WAL mode readers do not wait for a writer; the file keeps the mode.
                with closing(sqlite3.connect(file)) as connection:
                    connection.execute("PRAGMA journal_mode=WAL")
            store = MlflowClient(uri)
            store.search_experiments(max_results=1)
        except (MlflowException, sqlite3.Error, ImportError) as error:  # ImportError: the driver of another database
            if isinstance(error, MlflowException) and is_away(error):
                _check_name(uri)
                raise away(error) from None
            refusal = _refusal(error) if isinstance(error, MlflowException) else None
            is_damaged = sqlite_file() is not None
            raise RuntimeError(refusal or (_damage(error) if is_damaged else _no_answer(error))) from None
    if uri.startswith("http"):
        _check_version(uri)
    return store


def _check_name(uri: str) -> None:
    """RuntimeError if the host in the address of a server is known not to exist: it is mistyped, not away."""
    address = urlsplit(uri)
    if not uri.startswith("http") or urllib.request.getproxies().get(address.scheme):
        return
    try:
        socket.getaddrinfo(address.hostname, None)
    except socket.gaierror as error:
        if error.errno == socket.EAI_NONAME:
            named = f"which MLFLOW_TRACKING_URI={without_password(uri)} names"
            raise RuntimeError(f"there is no host {address.hostname}, {named}; correct the name") from None


def _check_version(uri: str) -> None:
    """RuntimeError if a server is too old for what is logged after the training; unknown versions pass."""
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    with answers():
        answer = http_request(get_default_host_creds(uri), "/version", "GET")
    version = answer.text.strip() if answer is not None and answer.status_code == 200 else ""
    if re.match(r"\d+\.", version) and int(version.partition(".")[0]) < OLDEST:
        what = f"the tracking server {uri} is MLflow {version[:20]}"
        raise RuntimeError(f"{what}, which knows no logged models; update it to MLflow {OLDEST} or later")


def quieten() -> None:
    """Before mlflow is imported: no telemetry, progress bars, links or migration log in the output of a command."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of each attempt to reach a server


def local_folder() -> Path:
    """The folder on this machine for what belongs to the store but is not in it: checkpoints, downloads."""
    file = sqlite_file()
    return file.parent if file else ROOT / "mlruns"


def server() -> str:
    """The address of the server or database; "" for SQLite, whose local files are next to it and move with it."""
    return "" if sqlite_file() else tracking_uri()


def artifacts_folder() -> Path | None:
    """With SQLite all artifacts are next to the database, one folder per experiment; None for a server."""
    file = sqlite_file()
    return file and file.parent / "artifacts"


def located(uri: str) -> str:
    """The address of a run's artifacts, even if the SQLite store was moved or copied since."""
    folder, path = artifacts_folder(), Path(unquote(urlparse(uri).path))
    if folder is None or not uri.startswith("file:") or len(path.parts) < 5 or not _is_moved(path.parents[2]):
        return uri
    return folder.joinpath(*path.parts[-3:]).as_uri()  # <experiment>/<run id>/artifacts


def _is_moved(old: Path) -> bool:
    """Whether the artifacts of this SQLite store used to be at `old`: it is gone, or next to the copied database."""
    folder, file = artifacts_folder(), sqlite_file()
    if folder is None or file is None or old.name != folder.name or old == folder:
        return False
    return not old.exists() or (old.parent / file.name).exists()


def relocate() -> None:
    """Update the addresses in a SQLite store that was moved or copied, so that MLflow writes next to the database."""
    folder, file = artifacts_folder(), sqlite_file()
    if folder is None or file is None:
        return
    new = folder.as_uri()
    for old in {location.rpartition("/")[0] for location in read_locations(file)}:
        if old.startswith("file:") and _is_moved(Path(unquote(urlparse(old).path))):
            with closing(sqlite3.connect(file, timeout=60)) as connection, connection:
                for table, column in ADDRESSES:
                    update = f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?"
                    connection.execute(update, (new, len(old) + 1, len(old) + 1, f"{old}/"))


# MLflow's tables with addresses of artifacts; its API cannot change them.
ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def sqlite_file() -> Path | None:
    uri = tracking_uri()
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _remedy(folder: str = "DIR") -> str:
    return f"set it to a database (sqlite:///{Path(folder) / 'mlflow.db'}) or a server (http://...)"
