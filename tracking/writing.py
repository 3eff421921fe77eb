"""Open runs, resume them and write to them."""

import getpass
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from tracking.liveness import process_tags
from tracking.runs import (
    COMMAND,
    COMMIT,
    DATASET,
    DIRTY,
    ERROR,
    FRAMEWORK,
    KIND,
    LINEUP,
    MEMBER,
    PARENT,
    PROGRESS,
    find_dead,
    find_runs,
    get_run,
)
from tracking.store import ROOT, client, experiment_id, relocate, store_lock, without_password

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IDENTITY = (DATASET, LINEUP, MEMBER, KIND)
NOTE = "mlflow.note.content"

SMALL_INTEGERS = pl.selectors.by_dtype(pl.Int8, pl.Int16, pl.UInt8, pl.UInt16, pl.UInt32)
BATCH = 1000  # metrics per call: the limit of a tracking server
FLUSH_SECONDS = 2.0
PROGRESS_SECONDS = 30.0


class Run:
    """An open run. Metrics are buffered, because a call with a thousand takes no longer than a call with one."""

    def __init__(self, run_id: str):
        self.run_id = run_id
        self._metrics: list[tuple[str, float, int, int]] = []
        self._flushed = time.monotonic()
        self._next_progress = 0.0

    def params(self, values: Mapping[str, object]) -> None:
        """Log settings; MlflowException if a param already has another value."""
        from mlflow.entities import Param

        params = [Param(key, str(value)) for key, value in values.items()]
        for start in range(0, len(params), 100):
            client().log_batch(self.run_id, params=params[start : start + 100])

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log values at a step; they are sent by the first call two seconds after the last flush, or at the run's end.

        Names consist of letters, digits, `_ - . : /` and spaces (MLflow refuses `@`).
        """
        now = int(time.time() * 1000)
        self._metrics += [(key, float(value), now, step) for key, value in values.items()]
        if len(self._metrics) >= BATCH or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send the buffered metrics."""
        from mlflow.entities import Metric

        metrics = [Metric(*values) for values in self._metrics]
        self._metrics, self._flushed = [], time.monotonic()  # first, so a refused metric is not sent again
        for start in range(0, len(metrics), BATCH):
            client().log_batch(self.run_id, metrics=metrics[start : start + BATCH])

    def tags(self, values: Mapping[str, str]) -> None:
        _set_tags(self.run_id, values)

    def progress(self, done: int, total: int, unit: str) -> None:
        """Show how far the run is (`tracking.runs.PROGRESS`); sent at once, then at most every half minute."""
        if time.monotonic() >= self._next_progress:
            self.tags({PROGRESS: f"{done} of {total} {unit}s at {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"})
            self._next_progress = time.monotonic() + PROGRESS_SECONDS

    def note(self, markdown: str) -> None:
        """Set the run's description in the MLflow UI."""
        self.tags({NOTE: markdown})

    def artifact(self, path: Path, folder: str = "") -> None:
        """Log a file, or a folder with its content, under `folder` of the run's artifacts."""
        if path.is_dir():
            client().log_artifacts(self.run_id, str(path), folder or None)
        else:
            client().log_artifact(self.run_id, str(path), folder or None)

    def text(self, text: str, name: str) -> None:
        client().log_text(self.run_id, text, name)

    def figure(self, figure: "Figure", name: str) -> None:
        """Log a matplotlib figure in the format of the suffix of `name` (.png)."""
        client().log_figure(self.run_id, figure, name)

    def dataset(self, name: str, digest: str, table: pl.DataFrame, context: str) -> None:
        """Log an input of this run: its schema and size, the first 36 characters of `digest`, and its purpose."""
        from mlflow.data.polars_dataset import from_polars
        from mlflow.entities import DatasetInput, InputTag

        # MLflow's schema has no small or unsigned integers and warns about each.
        dataset = from_polars(table.cast({SMALL_INTEGERS: pl.Int64}), name=name, digest=digest[:36])
        tags = [InputTag("mlflow.data.context", context)]
        client().log_inputs(self.run_id, [DatasetInput(dataset._to_mlflow_entity(), tags)])


@contextmanager
def open_run(
    experiment: str, name: str, tags: Mapping[str, str], parent: str | None = None, note: str = ""
) -> Iterator[Run]:
    """A new run, tagged with commit, command, host and process; always in a `with`.

    It ends FINISHED with the block, FAILED if the block raises (the tag `error` has the reason), and KILLED on Ctrl-C,
    SIGTERM or `sys.exit`. A child inherits dataset, lineup, member and framework from `parent`, which must not be a
    child itself.
    """
    _prepare()
    inherited: dict[str, str] = {}
    if parent is not None:
        record = get_run(parent)
        if record.parent is not None:
            raise ValueError(f"the run {record.name} ({parent}) is a stage itself; open this one under its parent")
        inherited = {key: record.tags[key] for key in (DATASET, LINEUP, MEMBER, FRAMEWORK) if key in record.tags}
        inherited[PARENT] = parent
    created = client().create_run(experiment_id(experiment), run_name=name, tags={**inherited, **tags, **_stamp(note)})
    with _ending(created.info.run_id) as run:
        yield run


@contextmanager
def open_parent(experiment: str, name: str, tags: Mapping[str, str], note: str = "") -> Iterator[Run]:
    """The run of a member, ensemble or dataset: the newest with these identity tags is resumed, or one is created.

    Identity is dataset, lineup, member and kind, as far as `tags` has them; kind is required. Commit, command, host and
    process become those of the last command. Ends as `open_run` does.
    """
    if KIND not in tags:
        raise ValueError(f"a parent run needs the tag `{KIND}` (member, ensemble or dataset); {name} has none")
    _prepare()
    with store_lock():  # two first commands of one member at once create one parent
        known = find_runs(experiment, finished=False, **{key: tags[key] for key in IDENTITY if key in tags})
        if known:
            run_id = known[0].run_id
            _set_tags(run_id, {**tags, **_stamp(note)})
            if ERROR in known[0].tags:
                client().delete_tag(run_id, ERROR)
            client().update_run(run_id, status="RUNNING")
        else:
            created = client().create_run(experiment_id(experiment), run_name=name, tags={**tags, **_stamp(note)})
            run_id = created.info.run_id
    with _ending(run_id) as run:
        yield run


def reap() -> None:
    """Mark dead runs of this machine KILLED: a process ended by SIGKILL or lack of memory cannot do so itself."""
    for run in find_dead():
        _set_tags(run.run_id, {ERROR: "the process was killed before it could log a reason"})
        client().set_terminated(run.run_id, "KILLED")


def _prepare() -> None:
    relocate()
    reap()


@contextmanager
def _ending(run_id: str) -> Iterator[Run]:
    run = Run(run_id)
    with _sigterm_unwinds():
        try:
            yield run
            run.flush()
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt | SystemExit)
            reason = "stopped from outside" if stopped else f"{type(error).__name__}: {error}"
            try:
                run.flush()
            finally:
                run.tags({ERROR: without_password(reason)})
                client().set_terminated(run_id, "KILLED" if stopped else "FAILED")
            raise
        client().set_terminated(run_id, "FINISHED")


@contextmanager
def _sigterm_unwinds() -> Iterator[None]:
    """SIGTERM raises SystemExit, so the run can end; a handler set by the caller is kept."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _set_tags(run_id: str, values: Mapping[str, str]) -> None:
    from mlflow.entities import RunTag

    client().log_batch(run_id, tags=[RunTag(key, str(value)[:5000]) for key, value in values.items()])


def _stamp(note: str) -> dict[str, str]:
    """The tags with a run's origin, and its note if there is one."""
    commit, dirty = _revision()
    command = without_password(shlex.join(["python", *sys.orig_argv[1:]])[:1000])
    return {
        **({NOTE: note} if note else {}),
        **process_tags(),
        COMMIT: commit,
        DIRTY: dirty,
        COMMAND: command,
        # The same for the columns Source, Version and User of the MLflow UI.
        "mlflow.source.name": command,
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": commit,
        "mlflow.user": _user(),
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no name for this user id, as in `docker run --user 12345`; OSError since Python 3.13
        return str(os.getuid())


@cache
def _revision() -> tuple[str, str]:
    """The commit, and whether the checkout differs from it (true | false); unknown outside of a git checkout."""
    try:
        commit = _git("rev-parse", "HEAD")
        return commit, "true" if _git("status", "--porcelain") else "false"
    except (OSError, subprocess.CalledProcessError):
        return "unknown", "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
