"""Open runs, resume them and write to them."""

import getpass
import json
import os
import shlex
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl

from tracking.liveness import process_tags
from tracking.operations import BATCH, Point, apply, create_run, open_parent_run, set_tags
from tracking.outbox import Outbox, Target, lines_of
from tracking.revision import difference, revision
from tracking.runs import (
    COMMAND,
    COMMIT,
    DATASET,
    DIRTY,
    ENSEMBLE,
    ERROR,
    FRAMEWORK,
    KIND,
    LINEUP,
    MEMBER,
    PARENT,
    PROGRESS,
    find_dead,
    get_run,
)
from tracking.store import Away, answers, client, relocate, tracking_uri, without_password

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INHERITED = (DATASET, LINEUP, MEMBER, ENSEMBLE, FRAMEWORK)  # by a child from its parent
NOTE = "mlflow.note.content"

SMALL_INTEGERS = pl.selectors.by_dtype(pl.Int8, pl.Int16, pl.UInt8, pl.UInt16, pl.UInt32)
FLUSH_SECONDS = 2.0
PROGRESS_SECONDS = 30.0


class Channel(Protocol):
    """Where the writes of a run go."""

    @property
    def run_id(self) -> str: ...

    def write(self, operation: str, **values: Any) -> str | None:
        """Do an operation of `tracking.operations`; returns what it returns, None if it is done later."""
        ...


@dataclass(frozen=True)
class Direct:
    """Writes that go to the store or fail."""

    run_id: str

    def write(self, operation: str, **values: Any) -> str | None:
        return apply(self.run_id, operation, **values)


@dataclass(frozen=True)
class Queued:
    """The writes of a stage to one of its runs, queued while the server is away."""

    outbox: Outbox
    target: Target

    @property
    def run_id(self) -> str:
        return self.outbox.run_id if self.target == "run" else self.outbox.opening.parent_id

    def write(self, operation: str, **values: Any) -> str | None:
        return self.outbox.write(self.target, operation, **values)


class Run:
    """An open run. Metrics are buffered, because a call with a thousand takes no longer than a call with one.

    With a file `held` they are sent by `flush` alone, and kept in the file until then.
    """

    def __init__(self, channel: Channel | str, held: Path | None = None):
        self._channel = Direct(channel) if isinstance(channel, str) else channel
        self._held = held
        self._known: set[str] = set()  # metrics that an interrupted process has logged
        self._metrics: list[Point] = []
        self._flushed = time.monotonic()
        self._next_progress = 0.0

    @property
    def run_id(self) -> str:
        return self._channel.run_id

    def write(self, operation: str, **values: Any) -> str | None:
        """`Channel.write`."""
        return self._channel.write(operation, **values)

    def params(self, values: Mapping[str, object]) -> None:
        """Log settings; a resumed run keeps those of its first process (`tracking.operations.log_params`)."""
        self.write("params", values={key: str(value) for key, value in values.items()})

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log values at a step of a curve, or the results of the run, whose step is 0.

        They are sent by the first call two seconds after the last flush, or at the run's end. A resumed run keeps the
        results that its first process has logged. Names consist of letters, digits, `_ - . : /` and spaces (MLflow
        refuses `@`).
        """
        now = int(time.time() * 1000)
        is_result = step is None
        logged = self._known if is_result else ()
        points = [(key, float(value), now, step or 0) for key, value in values.items() if key not in logged]
        self._metrics += points
        if self._held is not None:
            if not is_result:  # a resumed process makes its results again
                with self._held.open("a") as file:
                    file.write("".join(f"{json.dumps(point)}\n" for point in points))
        elif len(self._metrics) >= BATCH or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send the buffered metrics."""
        points = self._metrics
        self._metrics, self._flushed = [], time.monotonic()  # first, so a refused metric is not sent again
        if points:
            self.write("metrics", points=points)
        if self._held is not None:
            self._held.unlink(missing_ok=True)

    def leave(self) -> None:
        """Send what an interrupted run may send: not what is held, which a resumed process makes again."""
        if self._held is None:
            self.flush()

    def recall(self, last: int | None) -> None:
        """Send what an interrupted process held up to the step `last` of its last checkpoint, and forget the rest.

        Without a step the run is new.
        """
        assert self._held is not None
        if last is not None:
            with suppress(Away, ValueError):  # the store is away, or does not have the run yet
                self._known = set(get_run(self.run_id).metrics)
        points = [json.loads(line) for line in lines_of(self._held)]
        self._metrics = [point for point in points if last is not None and point[3] <= last]
        self.flush()

    def tags(self, values: Mapping[str, str]) -> None:
        self.write("tags", values={key: str(value) for key, value in values.items()})

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
        self.write("artifact", path=str(path), folder=folder)

    def text(self, text: str, name: str) -> None:
        """Log a text file, `name` with its folder."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(name).name
            path.write_text(text)
            self.artifact(path, "" if path.name == name else str(Path(name).parent))

    def table(self, table: pl.DataFrame, name: str) -> None:
        """Log a table that the MLflow UI shows as one: `name`.json, in the format of `mlflow.log_table`."""
        content = {"columns": table.columns, "data": [list(row) for row in table.iter_rows()]}
        self.text(json.dumps(content), f"{name}.json")
        self.tags({"mlflow.loggedArtifacts": json.dumps([{"path": f"{name}.json", "type": "table"}])})

    def figure(self, figure: "Figure", name: str) -> None:
        """Log a matplotlib figure in the format of the suffix of `name` (.png)."""
        with tempfile.TemporaryDirectory() as folder:
            figure.savefig(Path(folder) / name)
            self.artifact(Path(folder) / name)

    def dataset(self, name: str, digest: str, table: pl.DataFrame, context: str) -> None:
        """Log an input of this run: its schema and size, the first 36 characters of `digest`, and its purpose."""
        from mlflow.data.polars_dataset import from_polars

        # MLflow's schema has no small or unsigned integers and warns about each.
        dataset = from_polars(table.cast({SMALL_INTEGERS: pl.Int64}), name=name, digest=digest[:36])
        self.write("input", dataset=dict(dataset._to_mlflow_entity()), context=context)

    def code(self) -> None:
        """Log what differs from the commit in the run's tags, as `code.diff`; nothing in a clean checkout."""
        if difference():
            self.text(difference(), "code.diff")

    def end(self, status: str) -> None:
        """FINISHED, FAILED or KILLED, now."""
        self.write("end", status=status, time=int(time.time() * 1000))


@contextmanager
def open_run(
    experiment: str, name: str, tags: Mapping[str, str], parent: str | None = None, note: str = ""
) -> Iterator[Run]:
    """A new run, tagged with commit, command, host and process; always in a `with`.

    It ends FINISHED with the block, FAILED if the block raises (the tag `error` has the reason), and KILLED on Ctrl-C,
    SIGTERM or `sys.exit`. A child inherits the tags `INHERITED` from `parent`, which must not be a
    child itself.
    """
    prepare()
    inherited: dict[str, str] = {}
    if parent is not None:
        record = get_run(parent)
        if record.parent is not None:
            raise ValueError(f"the run {record.name} ({parent}) is a stage itself; open this one under its parent")
        inherited = {key: record.tags[key] for key in INHERITED if key in record.tags}
        inherited[PARENT] = parent
    with ending(Run(create_run(experiment, name, {**inherited, **tags, **stamp(note)}))) as run:
        run.code()
        yield run


@contextmanager
def open_parent(experiment: str, name: str, tags: Mapping[str, str], note: str = "") -> Iterator[Run]:
    """The run of a member, ensemble or dataset: the newest with these identity tags is resumed, or one is created.

    Identity is dataset, lineup, member, ensemble (the name of a saved one) and kind, as far as `tags` has them; kind is
    required. Commit, command, host and process become those of the last command. Ends as `open_run` does.
    """
    if KIND not in tags:
        raise ValueError(f"a parent run needs the tag `{KIND}` (member, ensemble, named or dataset); {name} has none")
    prepare()
    with ending(Run(open_parent_run(experiment, name, {**tags, **stamp(note)}))) as run:
        yield run


def reap() -> None:
    """Mark dead runs of this machine KILLED: a process ended by SIGKILL or lack of memory cannot do so itself."""
    for run in find_dead():
        with answers():
            set_tags(run.run_id, {ERROR: "the process was killed before it could log a reason"})
            for model in client().search_logged_models([run.experiment_id], f"source_run_id = '{run.run_id}'"):
                if model.status == "PENDING":
                    client().finalize_logged_model(model.model_id, "FAILED")
            client().set_terminated(run.run_id, "KILLED")


def prepare() -> None:
    """Before the first run of a process: mend the addresses of a moved store, and mark dead runs."""
    _prepare(tracking_uri())


@cache
def _prepare(uri: str) -> None:
    relocate()
    reap()


@contextmanager
def ending(run: Run) -> Iterator[Run]:
    """End the run with the block, as `open_run` says."""
    with _sigterm_unwinds():
        try:
            yield run
            run.flush()
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt | SystemExit)
            reason = "stopped from outside" if stopped else f"{type(error).__name__}: {error}"
            try:
                run.leave()
            finally:
                run.tags({ERROR: without_password(reason)})
                run.end("KILLED" if stopped else "FAILED")
            raise
        run.end("FINISHED")


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


def stamp(note: str) -> dict[str, str]:
    """The tags with a run's origin, and its note if there is one."""
    commit, dirty = revision()
    command = without_password(shlex.join(["python", *sys.orig_argv[1:]])[:1000])
    return {
        **({NOTE: note} if note else {}),
        **process_tags(),
        COMMIT: commit,
        DIRTY: dirty,
        COMMAND: command,
        # The same for the columns Source, Version and User of the MLflow UI. Of a source it shows what follows the last
        # slash, so the options stay out: one of them is a folder.
        "mlflow.source.name": command.partition(" --")[0],
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": commit,
        "mlflow.user": user_name(),
    }


def user_name() -> str:
    """Who types the command; the number if the user has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no name for this user id, as in `docker run --user 12345`; OSError since Python 3.13
        return str(os.getuid())
