"""One member's work on one dataset: its stages, which runs they build on, and what every training stage logs."""

import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from tracking import metrics, runs
from tracking.models import log_model
from tracking.stage import Parent, Stage, digest
from tracking.store import local_folder
from tracking.writing import Run
from training.fit import processes
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
SUBJECTS = {"pretrain": metrics.PRETRAINED, "finetune": metrics.FINETUNED}  # whose MAP a training stage logs

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

    def stage(self, name: str, *upstream: str, split: str = "") -> Stage:
        """The stage `name` of this member, built on the runs `upstream`; infer has a split."""
        kind = {runs.KIND: "member"}
        parent = Parent(
            name=self.member.name,
            identity={**self.identity(), **kind},
            tags={runs.FRAMEWORK: self.member.framework},
            note=_about(self.member),
        )
        return Stage(
            experiment=self.experiment,
            parent=parent,
            stage=name,
            digest=self.digest(name, *upstream, *([split] if split else [])),
            data_digest=self.store.dataset.digest,
            split=split,
            note=STAGES[name],
        )

    def digest(self, stage: str, *upstream: str) -> str:
        """Digest that identifies a stage: member configuration, options that change results, data, and `upstream`.

        `upstream` are the ids of the runs it builds on, and for infer also the split.
        """
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
        return digest(stage, settings, self.store.dataset.digest, upstream)

    def _departures(self) -> dict[str, object]:
        """The options that change what is learnt by more than rounding and chance."""
        departures: dict[str, object] = {}
        if self.options.precision != "fp32":
            departures["precision"] = self.options.precision
        if self.options.accumulate != 1 and self.member.config.has_batch_norm:
            departures["accumulate"] = self.options.accumulate  # batch statistics are then of a part
        return departures

    def for_member(self, name: str) -> "Job":
        """The same work for another member of the line-up."""
        return replace(self, member=member_of(self.lineup, name))

    def identity(self) -> dict[str, str]:
        """The tags by which the member's runs are found."""
        return {runs.DATASET: self.experiment, runs.LINEUP: self.lineup, runs.MEMBER: self.member.name}

    def finetuning(self) -> Stage:
        """The stage finetune; ValueError with the command if the pre-training or a base that it needs is missing."""
        return self.stage("finetune", *self.upstream())

    def pretrained(self) -> runs.Record | None:
        """The finished pre-training, None for a member without one; ValueError with the command if it is missing."""
        return self._required(self.stage("pretrain")) if self.member.pretrain else None

    def finetuned(self) -> runs.Record:
        """The finished fine-tuning; ValueError with the command if it is missing."""
        return self._required(self.finetuning())

    def upstream(self) -> list[str]:
        """The ids of the runs that fine-tuning builds on: the pre-training, or those of the members it boosts."""
        records = [self.pretrained()]
        for base in (self.for_member(name) for name in self.member.config.builds_on):
            records += [base.pretrained(), base.finetuned()]
        return [record.run_id for record in records if record]

    def _required(self, stage: Stage) -> runs.Record:
        record = stage.finished()
        if record is None:
            name = self.member.name
            command = f"python -m training {stage.name} {name} --lineup {self.lineup} --data {self.store.folder}"
            what = f"no finished {stage.name} run of {name} as configured, on this data"
            raise ValueError(f"{what}; run `{command}` first")
        return record


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What training made of a member.

    `score` is MAP on the holdout of the chosen checkpoint, None without rated segments there; `step` is its step, in
    `unit` (step or round). `model` is what MLflow logs, with `example` as its input. `amount` says in words how much
    was learnt.
    """

    score: float | None
    step: int
    unit: str
    amount: str
    model: object
    example: np.ndarray


def checkpoint_folder(stage: Stage, force: bool) -> Path:
    """Where an unfinished training stage keeps its checkpoints, and resumes from; `force` removes what is in it.

    Of several processes that learn as one, the first alone removes.
    """
    folder = local_folder() / "checkpoints" / f"{stage.parent.name}-{stage.stage}-{stage.digest}"
    if force and processes.rank() == 0:
        shutil.rmtree(folder, ignore_errors=True)
    return folder


def train(
    job: Job, stage: Stage, *, folder: Path, params: Mapping[str, object], learn: Callable[[Run], Fitted]
) -> runs.Record:
    """Open a training stage, `learn`, and log what every training stage logs; returns its finished run.

    Logged are `params`, the videos, duration, chosen step, MAP (to the member's run too), the checkpoints in `folder`
    and the model. `folder` is removed when all that is done.
    """
    member = job.member
    with stage.open() as opened:
        run = opened.run
        run.params({**asdict(member.config), "seed": member.seed, **params})
        videos = job.store.videos.select("video_id", "split", "frames")
        run.dataset(job.experiment, job.store.dataset.digest, videos, stage.stage)
        began = time.perf_counter()
        fitted = learn(run)
        seconds = time.perf_counter() - began
        headline = {} if fitted.score is None else {metrics.map_of(SUBJECTS[stage.stage]): fitted.score}
        opened.headline(headline)
        run.metrics({metrics.SECONDS: seconds, metrics.CHOSEN_STEP: fitted.step})
        run.artifact(folder, "checkpoint")
        tags = {**job.identity(), runs.STAGE: stage.stage}
        settings = asdict(member.config)
        log_model(run, member.name, job.kind.format, fitted.model, fitted.example, settings, tags, headline)
        score = "no rated holdout" if fitted.score is None else f"MAP {fitted.score:.4f}"
        text = "%s: %s, %s at %s %d, %.0f s"
        log.info(text, stage.label, fitted.amount, score, fitted.unit, fitted.step, seconds)
    shutil.rmtree(folder)
    return runs.get_run(run.run_id)


def _about(member: Member) -> str:
    """What a reader of the MLflow UI learns of a member."""
    origin = f"{member.paper_name} of the paper" if member.paper_name else "Not in the paper"
    published = f", private MAP@100K {member.published_map} there (YouTube-8M)" if member.published_map else ""
    shifts = ", ".join(f"{shift:+d}" if shift else "0" for shift in member.shifts)
    return f"{origin}{published}. Predicted under the shifts {shifts}; its stages are the runs below it."
