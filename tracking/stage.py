"""A stage: one step of the pipeline as a tracked run, identified by a digest of everything its result depends on."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tracking.runs import CONFIG_DIGEST, DATA_DIGEST, KIND, SPLIT, STAGE, Record, find_runs
from tracking.writing import Run, open_parent, open_run

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
        """The newest finished run with this digest."""
        wanted = {**self.parent.identity, **self._tags()}
        del wanted[KIND]  # only parents have it
        records = find_runs(self.experiment, finished=True, **wanted)
        return records[0] if records else None

    def done(self, force: bool) -> Record | None:
        """`finished`, with a log message; None if `force` asks to repeat the stage."""
        record = None if force else self.finished()
        if record is not None:
            log.info("%s: done already (run %s)", self.label, record.run_id[:8])
        return record

    @contextmanager
    def open(self) -> Iterator[OpenStage]:
        """Open a new run under the parent's, tagged for `finished`; for its end see `tracking.writing.open_run`."""
        tags = {**self.parent.identity, **self.parent.tags}
        with (
            open_parent(self.experiment, self.parent.name, tags, self.parent.note) as parent,
            open_run(self.experiment, self.name, self._tags(), parent=parent.run_id, note=self.note) as run,
        ):
            yield OpenStage(run, parent)

    def _tags(self) -> dict[str, str]:
        tags = {STAGE: self.stage, CONFIG_DIGEST: self.digest, DATA_DIGEST: self.data_digest, SPLIT: self.split}
        return {key: value for key, value in tags.items() if value}
