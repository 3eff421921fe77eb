"""A stage: one step of the pipeline as a tracked run, identified by a digest of everything its result depends on."""

import hashlib
import json
import logging
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tracking.operations import exists
from tracking.outbox import Opening, Outbox, outbox_folder, outboxes, send_waiting, waiting_record
from tracking.revision import UNKNOWN, changed_since
from tracking.runs import (
    COMMIT,
    CONFIG_DIGEST,
    DATA_DIGEST,
    DIRTY,
    KEY,
    KIND,
    SPLIT,
    STAGE,
    Record,
    find_deleted,
    find_runs,
    get_run,
    kept_runs,
)
from tracking.store import Away, local_folder, lock, rename_command, restore_command, server
from tracking.writing import Queued, Run, ending, prepare, stamp

log = logging.getLogger(__name__)


def digest(*content: object) -> str:
    """Digest of JSON values, 16 hexadecimal digits; equal values give equal digests."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Parent:
    """The run of a member or an ensemble, parent of its stages' runs.

    `identity` has the tags dataset, lineup, kind and, for a member, member; `tags` has further ones. `note` is its
    description in the MLflow UI; an empty note does not replace an existing one.
    """

    name: str
    identity: Mapping[str, str]
    tags: Mapping[str, str]
    note: str = ""


@dataclass(frozen=True)
class OpenStage:
    """The open runs of a stage and of its parent."""

    run: Run
    parent: Run
    outbox: Outbox
    began: float  # time.perf_counter(), less the seconds of interrupted processes

    def record(self) -> Record:
        """The run as the store has it, or as it will have it."""
        if self.outbox.waits:
            return waiting_record(self.outbox)
        record = get_run(self.run.run_id)
        record.keep()
        return record

    @property
    def seconds(self) -> float:
        """How long the stage has been running, with the time of interrupted processes up to their last checkpoint."""
        return time.perf_counter() - self.began

    def checkpoint(self) -> None:
        """After each checkpoint: log what it makes true."""
        self.run.flush()
        self.outbox.opening.seconds = self.seconds
        self.outbox.save()

    def headline(self, values: Mapping[str, float]) -> None:
        """Log metrics to both runs."""
        self.run.metrics(values)
        self.parent.metrics(values)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage on one dataset. `digest` identifies everything its result depends on."""

    experiment: str
    parent: Parent
    stage: str
    digest: str
    data_digest: str
    split: str = ""
    note: str = ""

    @property
    def name(self) -> str:
        """`pretrain`, `infer holdout`."""
        return f"{self.stage} {self.split}".strip()

    @property
    def label(self) -> str:
        """Its name in messages: `bert-l2h12-mean infer holdout`."""
        return f"{self.parent.name} {self.name}"

    def finished(self) -> Record | None:
        """The newest finished run with this digest, also one that the store has not received.

        If the server is away, a run that this machine knows of; `Away` if there is none. ValueError with the remedy if
        it was deleted or retagged in the MLflow UI, or its experiment renamed.
        """
        wanted = {**self.parent.identity, **self._tags()}
        del wanted[KIND]  # only parents have it
        try:
            send_waiting()
            records = find_runs(self.experiment, finished=True, **wanted)
        except Away:
            ended = [box for box in reversed(self._outboxes()) if box.opening.status == "FINISHED"]
            records = [*map(waiting_record, ended), *kept_runs(self.experiment, **wanted)]
            if not records:
                raise
        else:
            if not records and (change := self._changed(wanted)):
                raise ValueError(f"the finished run of {self.label} {change}, or repeat the stage with --force")
        return records[0] if records else None

    def _changed(self, wanted: Mapping[str, str]) -> str | None:
        """What was done to the finished run with the tags `wanted` in the MLflow UI, and how to undo it."""
        if deleted := find_deleted(self.experiment, **wanted):
            return f"was deleted; bring it back with `{restore_command(deleted[0].run_id)}`"
        split = {SPLIT: self.split} if self.split else {}  # the splits of a stage have one digest
        for record in find_runs(finished=True, **{CONFIG_DIGEST: self.digest}, **split):
            retagged = [f"{tag} to {value}" for tag, value in wanted.items() if record.tags.get(tag) != value]
            if not retagged:
                command = rename_command(record.experiment_id, self.experiment)
                return f"is in the experiment {record.experiment}, which was renamed; undo that with `{command}`"
            parent = record.parent if record.parent is not None and exists(record.parent) else None
            if parent is not None and self.parent.identity.items() <= get_run(parent).tags.items():
                return f"{record.run_id} was retagged; set back in the MLflow UI {' and '.join(retagged)}"
        return None

    def done(self, force: bool) -> Record | None:
        """`finished`, with a log message; None if `force` asks to repeat the stage, or if the server is away."""
        try:
            record = None if force else self.finished()
        except Away as error:
            log.warning("%s: whether it has been done is not known: %s", self.label, error)
            return None
        if record is not None:
            log.info("%s: done already (run %s, %s)", self.label, record.run_id[:8], _made_by(record))
            _warn_of_lost_parent(self.parent.name, record)
        return record

    def run_once(self, force: bool, work: Callable[[], Record], wait: bool = True) -> Record:
        """`done`, or else the result of `work`, which makes the finished run.

        One process of a machine at a time runs a stage: a second one waits and takes its result, unless `force` asks to
        repeat it. RuntimeError instead of waiting if `wait` is false.
        """
        if record := self.done(force):
            self._remove_kept()
            return record
        with self._lock(wait) as has_waited:
            # Looked up again: another process may have finished between the two lines above.
            with suppress(Away):
                record = None if force else self.finished()
            if record is None:
                return work()
        if has_waited:
            log.info("%s: taken from the process that was running it (run %s)", self.label, record.run_id[:8])
        return record

    @contextmanager
    def _lock(self, wait: bool) -> Iterator[bool]:
        """This machine's lock on the stage; whether it had to be waited for."""
        has_waited = False

        def waiting() -> None:
            nonlocal has_waited
            if not wait:
                raise RuntimeError(
                    f"another process is running {self.label}; type the command again when it has ended"
                ) from None
            log.info("%s: another process is running it; waiting for its result", self.label)
            has_waited = True

        with lock(local_folder() / "locks" / f"{self.file_name}.lock", waiting):
            yield has_waited

    def _remove_kept(self) -> None:
        """Remove what a process has left that was killed after the end of the stage, but not what another one uses."""
        if self.kept.exists():
            with suppress(RuntimeError, OSError), self._lock(wait=False):
                shutil.rmtree(self.kept)

    @property
    def kept(self) -> Path:
        """The folder on this machine with what an interrupted stage resumes from; gone when it has finished."""
        return local_folder() / "checkpoints" / self.file_name

    @property
    def file_name(self) -> str:
        """The name of its files on this machine; its checkpoints' name since the first version."""
        return f"{self.parent.name}-{self.stage}-{self.digest}".replace("/", "-")

    @contextmanager
    def open(self, resumable: bool = False, last: int | None = None) -> Iterator[OpenStage]:
        """Open a run under the parent's, tagged for `finished`; for its end see `tracking.writing.open_run`.

        If the server is away, the run is created later (`tracking.outbox`). With `resumable`, metrics are logged by
        `OpenStage.checkpoint` and at the end, and if `last` is the step of a checkpoint to resume from, the run is that
        of the interrupted process.
        """
        box = self._outbox(resumable, last)
        with suppress(Away):  # the next call says so
            prepare()
        box.open()
        run, parent = Run(Queued(box, "run"), box.held if resumable else None), Run(Queued(box, "parent"))
        if resumable:
            run.recall(last)
        try:
            with ending(parent), ending(run):
                run.code()
                yield OpenStage(run, parent, box, time.perf_counter() - box.opening.seconds)
        except BaseException:
            box.close("FAILED")
            raise
        box.close("FINISHED")

    def _outbox(self, resumable: bool, last: int | None) -> Outbox:
        """That of an interrupted process if there is a checkpoint, else a new one; what others have queued is kept."""
        mark = stamp(self.note)
        parent_tags = {**self.parent.identity, **self.parent.tags, **stamp(self.parent.note)}
        interrupted = [box for box in self._outboxes() if box.opening.status != "FINISHED"]
        for box in interrupted:
            if last is not None and box is interrupted[-1]:
                tags = {**box.opening.tags, **mark}
                box.opening = replace(box.opening, tags=tags, parent_tags=parent_tags, status="RUNNING")
                return box
            box.abandon()
        key = uuid.uuid4().hex
        inherited = {**self.parent.identity, **self.parent.tags}
        del inherited[KIND]
        opening = Opening(
            server=server(),
            experiment=self.experiment,
            name=self.name,
            tags={**inherited, **self._tags(), **mark, KEY: key},
            parent_name=self.parent.name,
            parent_tags=parent_tags,
            start=int(time.time() * 1000),
            is_resumable=resumable,
        )
        return Outbox(outbox_folder() / f"{self.file_name}-{key[:8]}", opening)

    def _outboxes(self) -> list[Outbox]:
        """Those of this stage on this machine, oldest first."""
        wanted = {**self.parent.identity, **self._tags()}.items() - {(KIND, self.parent.identity[KIND])}
        return [
            box
            for box in outboxes(self.file_name)
            if box.opening.experiment == self.experiment and wanted <= box.opening.tags.items()
        ]

    def _tags(self) -> dict[str, str]:
        tags = {STAGE: self.stage, CONFIG_DIGEST: self.digest, DATA_DIGEST: self.data_digest, SPLIT: self.split}
        return {key: value for key, value in tags.items() if value}


def _warn_of_lost_parent(name: str, record: Record) -> None:
    """Without its parent, a run is neither below its member in the MLflow UI nor in the dashboard."""
    with suppress(Away):
        if record.parent is not None and not exists(record.parent):
            text = "the run of %s was deleted, and with it what is shown of its stages; bring it back with `%s`"
            log.warning(text, name, restore_command(record.parent))


def _made_by(record: Record) -> str:
    """The commit that made a run, and the files that have changed since."""
    commit = record.tags.get(COMMIT, UNKNOWN)
    text = f"commit {commit[:8]}" + (" with changes, see its code.diff" if record.tags.get(DIRTY) == "true" else "")
    changed = changed_since(commit)
    if changed is None:
        return f"{text}, which this checkout does not have"
    if not changed:
        return text
    more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
    return f"{text}; changed since: {', '.join(changed[:5])}{more}; --force repeats it"
