"""One member's work on one dataset: which run it is, whether it is done already, and how its runs are opened."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import numpy as np

from tracking import runs
from tracking.writing import Run, open_parent, open_run
from training.fit.kinds import Kind, kind_of
from training.fit.loop import GradientEstimator
from training.fit.options import DEFAULT, TorchOptions
from training.member import Member
from training.members import member_of
from videos.store import FrameStore

log = logging.getLogger(__name__)

STAGES = {
    "pretrain": "Learns from video-level labels; the last checkpoint goes on to fine-tuning.",
    "finetune": "Goes on with rated segments; the checkpoint with the best MAP on the holdout counts.",
    "infer": "Ranks all segments of a split, one list of predictions a shift, by the fine-tuned checkpoint.",
}  # what a reader of the MLflow UI learns of a stage

Scorer = Callable[[np.ndarray], np.ndarray]  # rows of segments -> scores (shifts, rows, classes)


@dataclass(frozen=True)
class Job:
    """A member of a line-up on a frame store; `force` redoes stages that have finished."""

    lineup: str
    member: Member
    store: FrameStore
    force: bool = False
    options: TorchOptions = DEFAULT

    @property
    def experiment(self) -> str:
        return self.store.dataset.name

    @property
    def kind(self) -> Kind:
        return kind_of(self.member)

    def estimator(self) -> GradientEstimator:
        """The member, freshly initialised; ValueError if its kind does not learn by gradient steps."""
        estimator = self.kind.estimator
        if estimator is None:
            raise ValueError(f"{self.member.name} does not learn by gradient steps; finetune it as a whole")
        return estimator(self.member, self.store.dataset, self.options)

    def digest(self, stage: str, *upstream: str) -> str:
        """What makes a stage the same one; `upstream` names the runs it builds on, and the split where there is one."""
        settings = asdict(self.member)
        if self.member.config.layout is not None:
            settings["layout"] = self.member.config.layout
        # What a stage does not look at does not make it another one.
        for unused in {"pretrain": ("finetune", "shifts"), "finetune": ("pretrain", "shifts")}.get(stage, ()):
            settings.pop(unused)
        for described in ("paper_name", "published_map"):
            settings.pop(described)
        if self.member.framework == "torch" and stage != "infer":
            settings |= self._departures()
        content = json.dumps([stage, settings, self.store.dataset.digest, upstream], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def _departures(self) -> dict[str, object]:
        """The options that change what is learnt by more than rounding and chance."""
        departures: dict[str, object] = {}
        if self.options.precision != "fp32":
            departures["precision"] = self.options.precision
        if self.options.accumulate != 1 and self.member.config.has_batch_norm:
            departures["accumulate"] = self.options.accumulate  # batch statistics are then of a part
        return departures

    def of(self, name: str) -> "Job":
        """The same work for another member of the line-up."""
        return replace(self, member=member_of(self.lineup, name))

    def identity(self) -> dict[str, str]:
        return {runs.DATASET: self.experiment, runs.LINEUP: self.lineup, runs.MEMBER: self.member.name}

    def finished(self, stage: str, digest: str, **tags: str) -> runs.Record | None:
        """The finished run of this very stage, unless everything is to be redone."""
        if self.force:
            return None
        found = runs.find_runs(self.experiment, True, **self.identity(), stage=stage, config_digest=digest, **tags)
        return found[0] if found else None

    def pretrained(self) -> runs.Record | None:
        """The finished pre-training of this very member, None where it has none; ValueError says what to type."""
        return self._find("pretrain", self.digest("pretrain")) if self.member.pretrain else None

    def finetuned(self) -> runs.Record:
        """The finished fine-tuning of this very member; ValueError says what to type."""
        return self._find("finetune", self.digest("finetune", *self.upstream()))

    def upstream(self) -> list[str]:
        """The ids of the runs that fine-tuning builds on: the pre-training, or those of the members it boosts."""
        found = [self.pretrained()]
        for base in (self.of(name) for name in self.member.config.builds_on):
            found += [base.pretrained(), base.finetuned()]
        return [run.run_id for run in found if run]

    def _find(self, stage: str, digest: str) -> runs.Record:
        found = runs.find_runs(self.experiment, True, **self.identity(), stage=stage, config_digest=digest)
        if not found:
            name = self.member.name
            command = f"python -m training {stage} {name} --lineup {self.lineup} --data {self.store.folder}"
            raise ValueError(f"no finished {stage} run of {name} as configured, on this data; run `{command}` first")
        return found[0]


@contextmanager
def stage_run(job: Job, stage: str, digest: str, split: str = "") -> Iterator[tuple[Run, Run]]:
    """A stage's run under its member's, with all the tags it is found by."""
    member, dataset = job.member, job.store.dataset
    identity = {**job.identity(), runs.FRAMEWORK: member.framework}
    with open_parent(job.experiment, member.name, {**identity, runs.KIND: "member"}, _about(member)) as parent:
        tags = {runs.STAGE: stage, runs.CONFIG_DIGEST: digest, runs.DATA_DIGEST: dataset.digest}
        if split:
            tags[runs.SPLIT] = split
        name = f"{stage} {split}".strip()
        with open_run(job.experiment, name, tags, parent=parent.run_id, note=STAGES[stage]) as run:
            yield run, parent


def _about(member: Member) -> str:
    """What a reader of the MLflow UI learns of a member."""
    origin = f"{member.paper_name} of the paper" if member.paper_name else "Not in the paper"
    published = f", private MAP@100K {member.published_map} there (YouTube-8M)" if member.published_map else ""
    shifts = ", ".join(f"{shift:+d}" if shift else "0" for shift in member.shifts)
    return f"{origin}{published}. Predicted under the shifts {shifts}; its stages are the runs below it."


def already(found: runs.Record) -> runs.Record:
    log.info("%s %s: done already (run %s)", found.tags[runs.MEMBER], found.name, found.run_id[:8])
    return found


def label(job: Job, stage: str) -> str:
    return f"{job.member.name} {stage}"
