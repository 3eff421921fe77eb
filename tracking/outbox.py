"""The writes of a stage that the store has not received, in a folder on this machine.

A write goes straight to the store. From the first one that a server does not answer, writes are queued in the folder,
with copies of the artifacts, and sent in their order when it answers again: by a later write of the stage, by the next
command, or by `python -m tracking sync`. A write that is sent twice has no further effect (`tracking.operations`).

The folder of a training stage remains until the stage has finished: by it, a stage that is interrupted and started
again is the same run.
"""

import glob
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from files.replacing import flush, replacing
from tracking import operations
from tracking.liveness import is_dead
from tracking.runs import KEY, PARENT, Record, find_runs
from tracking.store import Away, local_folder, server

log = logging.getLogger(__name__)

LOCAL = "local-"  # followed by a stage's key: the id of a run that the store does not have yet
# Between two attempts to reach a server that is away: an attempt may take 20 s.
RETRY_SECONDS, MOST_RETRY_SECONDS = 60.0, 960.0
Target = Literal["run", "parent"]


@dataclass(kw_only=True)
class Opening:
    """What is needed to create a stage's run and its parent's, and to resume it.

    `server` is that of `tracking.store`, `start` is in milliseconds since 1970, `seconds` the stage's duration up to
    its last checkpoint. `tags` and `parent_tags` include those of the process (`tracking.liveness`). The ids are empty
    before the runs exist in the store. `status` is RUNNING until the process has ended the stage.
    """

    server: str
    experiment: str
    name: str
    tags: dict[str, str]
    parent_name: str
    parent_tags: dict[str, str]
    start: int
    is_resumable: bool
    run_id: str = ""
    parent_id: str = ""
    seconds: float = 0.0
    status: str = "RUNNING"

    @property
    def key(self) -> str:
        return self.tags[KEY]


class Outbox:
    """The writes of one stage to its run and to its parent's; `folder` exists if something is in it."""

    def __init__(self, folder: Path, opening: Opening, is_retry: bool = False):
        self.folder, self.opening = folder, opening
        self._retry_at, self._pause = 0.0, RETRY_SECONDS
        self._is_retry = is_retry  # the answer to the creation of its run may have been lost

    @property
    def run_id(self) -> str:
        return self.opening.run_id or f"{LOCAL}{self.opening.key}"

    @property
    def waits(self) -> bool:
        """Whether the store has not received everything."""
        return self._queue.exists()

    @property
    def held(self) -> Path:
        """The file with the points of the learning curve since the last checkpoint."""
        return self.folder / "points.jsonl"

    @property
    def files(self) -> Path:
        """The artifacts that the store has not received."""
        return self.folder / "files"

    @property
    def _queue(self) -> Path:
        return self.folder / "writes.jsonl"

    def save(self) -> None:
        """Store the opening."""
        with replacing(self.folder / "stage.json") as temporary:
            temporary.write_text(json.dumps(asdict(self.opening), indent=1))

    def open(self) -> None:
        """Create the run, or let it be RUNNING again; queued if the server is away."""
        opening = self.opening
        if self.opening.is_resumable:
            self.save()
        try:
            if opening.run_id and not (operations.exists(opening.run_id) and operations.exists(opening.parent_id)):
                opening.run_id = opening.parent_id = ""  # deleted since
            is_new = not opening.run_id
            if self.waits:
                self._send()
            self._create()
        except Away as error:
            is_new = not opening.run_id
            self._postpone(error)
            self.save()
        if not is_new:
            self.write("parent", "begin", tags=opening.parent_tags)
            self.write("run", "begin", tags=opening.tags)
        elif not opening.run_id:
            self._append("run", "tags", {"values": {}})  # so that the run is created even if nothing follows

    def write(self, target: Target, operation: str, **values: Any) -> str | None:
        """Do an operation on a run, or queue it; returns what it returns, None if it was queued."""
        if not self.waits:
            try:
                return operations.apply(self._id(target), operation, **values)
            except Away as error:
                self._postpone(error)
        self._append(target, operation, values)
        if time.monotonic() >= self._retry_at:
            try:
                self._send()
            except Away as error:
                self._postpone(error)
        return None

    def send(self) -> None:
        """Send what is queued, and remove the folder if the stage is not to be resumed; `Away` if that fails."""
        if self.waits:
            self._send()
        if self.opening.status == "FINISHED" or not self.opening.is_resumable:
            shutil.rmtree(self.folder, ignore_errors=True)

    def close(self, status: str) -> None:
        """Note how the stage has ended; says so if something still waits."""
        self.opening.status = status
        if self.waits or (self.opening.is_resumable and status != "FINISHED"):
            self.save()
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        if self.waits:
            text = "%s: the tracking server does not answer; what it has missed waits in %s, and is sent by the next"
            log.warning(f"{text} command or by `python -m tracking sync`", self.opening.name, self.folder)

    def abandon(self) -> None:
        """The stage begins anew: the folder remains only as long as something waits in it."""
        self.held.unlink(missing_ok=True)
        self.opening.is_resumable = False
        if self.waits:
            self.save()
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def queued(self) -> list[tuple[Target, str, dict[str, Any]]]:
        """What is queued: (run or parent, operation, values)."""
        return [tuple(json.loads(line)) for line in lines_of(self._queue)]

    def _id(self, target: Target) -> str:
        return self.opening.run_id if target == "run" else self.opening.parent_id

    def _create(self) -> None:
        opening = self.opening
        if not opening.parent_id:
            opening.parent_id = operations.open_parent_run(
                opening.experiment, opening.parent_name, opening.parent_tags, opening.start
            )
        if not opening.run_id:
            tags = {**opening.tags, PARENT: opening.parent_id}
            opening.run_id = operations.create_run(
                opening.experiment, opening.name, tags, start=opening.start, retry=self._is_retry
            )
            if self.folder.exists():
                self.save()

    def _postpone(self, error: Away) -> None:
        if not self._retry_at:
            log.warning("%s: %s; the stage continues, and what the store misses is kept", self.opening.name, error)
        self._retry_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, MOST_RETRY_SECONDS)
        self._is_retry = True

    def _append(self, target: Target, operation: str, values: dict[str, Any]) -> None:
        """Queue an operation, with copies of its files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if operation in ("artifact", "model"):
            place = (
                self.files / values["folder"] if operation == "artifact" else self.folder / "models" / values["name"]
            )
            path = Path(values["path"])
            copy = place if path.is_dir() else place / path.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, copy, dirs_exist_ok=True)
            else:
                shutil.copyfile(path, copy)
            flush(copy)
            values = {**values, "path": str(copy)}
        with self._queue.open("a") as file:
            file.write(json.dumps([target, operation, values]) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _send(self) -> None:
        """Send the queue; what an interruption leaves is sent again. `Away` if the server does not answer."""
        self._create()
        lines = lines_of(self._queue)
        try:
            while lines:
                target, operation, values = json.loads(_with_ids(lines[0]))
                operations.apply(self._id(target), operation, **values)
                lines.pop(0)
        finally:
            if lines:
                with replacing(self._queue) as temporary:
                    temporary.write_text("".join(f"{line}\n" for line in lines))
            else:
                self._queue.unlink()
        for name in ("files", "models"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        self._retry_at, self._pause = 0.0, RETRY_SECONDS
        log.info("%s: the tracking server has received everything", self.opening.name)


def waiting_record(box: Outbox) -> Record:
    """The run of a stage that the store has not received."""
    opening = box.opening
    params: dict[str, str] = {}
    metrics: dict[str, float] = {}
    for target, operation, values in box.queued():
        if target == "run" and operation == "params":
            params |= values["values"]
        elif target == "run" and operation == "metrics":
            metrics |= {name: value for name, value, *_ in values["points"]}
        elif target == "run" and operation == "model":
            metrics |= values["metrics"]
    return Record(
        run_id=box.run_id,
        experiment=opening.experiment,
        experiment_id="",
        name=opening.name,
        status=opening.status,
        start=datetime.fromtimestamp(opening.start / 1000, UTC),
        end=None,
        tags={key: value for key, value in opening.tags.items() if not key.startswith("mlflow.")},
        params=params,
        metrics=metrics,
        artifact_uri=box.files.absolute().as_uri(),
        parent=None,
    )


def outbox_folder() -> Path:
    return local_folder() / "outbox"


def outboxes(name: str = "") -> list[Outbox]:
    """The outboxes on this machine for the store in use, oldest first; `name`: those with this `Stage.file_name`."""
    read = []
    for path in outbox_folder().glob(f"{glob.escape(name)}-????????/stage.json" if name else "*/stage.json"):
        try:
            read.append((path.parent, Opening(**json.loads(path.read_text()))))
        except FileNotFoundError:  # sent by another process
            continue
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} cannot be read: {error}; move its folder away") from error
    read.sort(key=lambda entry: entry[1].start)
    return [Outbox(folder, opening, is_retry=True) for folder, opening in read if opening.server == server()]


def waiting_text() -> str:
    """How many stages the store has not received, in a sentence; "" if none."""
    waiting = sum(box.waits for box in outboxes())
    what = "1 stage has" if waiting == 1 else f"{waiting} stages have"
    return f"{what} not been sent to the tracking server; `python -m tracking sync` does it" if waiting else ""


def send_waiting() -> int:
    """Send what the store has not received of stages that have ended; returns their number. `Away` if that fails.

    What a running process has queued, it sends itself.
    """
    if not _ended_and_waiting():
        return 0
    with _lock():
        waiting = _ended_and_waiting()
        for box in waiting:
            box.send()
    return len(waiting)


def _ended_and_waiting() -> list[Outbox]:
    return [box for box in outboxes() if box.waits and (box.opening.status != "RUNNING" or is_dead(box.opening.tags))]


@contextmanager
def _lock() -> Iterator[None]:
    from filelock import FileLock

    with FileLock(outbox_folder() / ".lock"):
        yield


def lines_of(path: Path) -> list[str]:
    """The complete lines of a file; an interruption may have cut off the last."""
    return path.read_text().split("\n")[:-1] if path.exists() else []


def _with_ids(line: str) -> str:
    """`line` with the ids of runs that the store has received since in place of their local ones."""

    def run_id(match: re.Match[str]) -> str:
        known = find_runs(finished=False, **{KEY: match[1]})
        return known[0].run_id if known else match[0]

    return re.sub(rf"{LOCAL}([0-9a-f]{{32}})", run_id, line)
