"""A member on a dataset: its stages, the runs they build on, and what every training stage logs."""

import logging
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from scoring.tracked.figures import curve_figure
from tracking import metrics, runs
from tracking.models import log_model
from tracking.outbox import LOCAL
from tracking.registry import Registered, page, registered_name
from tracking.stage import OpenStage, Parent, Stage, digest
from tracking.store import Away
from tracking.system_metrics import system_metrics
from tracking.writing import Run
from training.fit import devices, processes
from training.fit.checkpoints import Checkpoints
from training.fit.kinds import Kind, kind_of, parameters_of
from training.fit.loop import GradientEstimator
from training.fit.options import DEFAULT, TorchOptions
from training.limits import settings
from training.member import Member, Schedule
from training.members import member_of
from training.trained import Trained, estimator_of
from training.windows.unrated import unrated_videos
from videos.store import FrameStore

log = logging.getLogger(__name__)

STAGES = {  # descriptions in the MLflow UI
    "pretrain": "Trains on video-level labels; fine-tuning starts from the last checkpoint.",
    "finetune": "Trains on rated segments; the checkpoint with the best MAP on the holdout is used.",
    "infer": "Ranks all segments of a split with the fine-tuned checkpoint, one file of predictions per shift.",
}
FINAL_STAGES = {
    "finetune": "Trains on all rated segments, the holdout's too, for as many steps as were best in the first fit.",
    "infer": STAGES["infer"],
}
# Which results of a member a new training run outdates.
LATER = {"pretrain": f"{metrics.FINETUNED}, {metrics.MERGED}", "finetune": metrics.MERGED}
SUBJECTS = {"pretrain": metrics.PRETRAINED, "finetune": metrics.FINETUNED}  # in the name of a training stage's MAP


@dataclass(frozen=True, kw_only=True)
class Job:
    """A member of a line-up on a frame store; `force` repeats stages that have finished."""

    lineup: str
    member: Member
    store: FrameStore
    force: bool = False
    options: TorchOptions = DEFAULT

    def __post_init__(self) -> None:
        if self.is_final:  # nothing of it can be chosen on the holdout, since it sees none
            object.__setattr__(self, "store", self.store.without_holdout())

    @property
    def is_final(self) -> bool:
        """Whether it is a final refit: fine-tuned on the holdout too, for the `chosen_steps` of the first fit."""
        return runs.is_final(self.lineup)

    @property
    def first(self) -> "Job":
        """The job whose finished runs a final refit builds on, to look them up; other jobs are their own."""
        return replace(self, lineup=runs.first_lineup(self.lineup), force=False)

    @property
    def experiment(self) -> str:
        return self.store.dataset.name

    @property
    def kind(self) -> Kind:
        return kind_of(self.member)

    def estimator(self, start: runs.Record | None = None) -> GradientEstimator:
        """The member, freshly initialised or from the last checkpoint of the run `start`.

        ValueError if its kind does not train by gradient steps, or if the checkpoint is damaged.
        """
        estimator = estimator_of(self.member, self.store.dataset, self.options)
        if start is not None:
            with start.reading("checkpoint") as (checkpoint,):
                estimator.restore(*Checkpoints(checkpoint).read("last", self.member.pretrained_name))
        return estimator

    def trained(self, checkpoint: Path) -> Trained:
        """The member with the fine-tuned weights in the folder `checkpoint`."""
        return Trained(
            member=self.member,
            bases=tuple(self.for_member(base).member for base in self.member.config.builds_on),
            dataset=self.store.dataset,
            checkpoint=checkpoint,
            options=self.options,
        )

    def check(self, stage: str) -> None:
        """ValueError if these processes, options, machine or data do not allow a stage of the member."""
        if stage == "infer":
            processes.alone("infer")
            if not self.store.dataset.scored_classes:
                raise ValueError(f"{self.store.folder} scores no class; ingest rated shards, or give --segment-classes")
        elif not self.kind.shares_work:
            processes.alone(f"training {self.member.name} in {self.kind.title}")
        schedule = {"pretrain": self.member.pretrain, "finetune": self.member.finetune}.get(stage)
        if schedule and schedule.consistency:
            if not self.kind.learns_unrated:
                raise ValueError(
                    f"{self.member.name}: {self.kind.title} does not learn from unrated videos in fine-tuning; leave "
                    "consistency out of its schedule"
                )
            unrated_videos(self.store)
        self.kind.check(self.options, schedule)
        for base in self.member.config.builds_on:  # fine-tuned per fold and scored as parts of this member
            self.for_member(base).check(stage)

    def stage(self, name: str, *upstream: str, split: str = "") -> Stage:
        """The stage `name` of this member, built on the runs `upstream` (`Record.key`); only infer has a split."""
        return Stage(
            experiment=self.experiment,
            parent=Parent(
                name=f"{self.member.name} final" if self.is_final else self.member.name,
                identity={**self.identity(), runs.KIND: "member"},
                tags={runs.FRAMEWORK: self.member.framework, **_published(self.member)},
                note=f"{self.about} Its fine-tuned models: {page(self.registered)}.",
            ),
            stage=name,
            digest=self.digest(name, *upstream, *([split] if split else [])),
            data_digest=self.store.dataset.digest,
            split=split,
            note=FINAL_STAGES[name] if self.is_final else STAGES[name],
        )

    def digest(self, stage: str, *upstream: str) -> str:
        """Digest that identifies a stage: member configuration, options that change results, data, and `upstream`.

        `upstream` are the keys of the runs it builds on, and for infer also the split.
        """
        content = {**settings(self.member), "framework": self.member.framework}
        if self.member.config.layout is not None:
            content["layout"] = self.member.config.layout
        # Fields that a stage does not use are not in its digest, nor are descriptive ones.
        unused = {"pretrain": ("finetune", "shifts", "prior"), "finetune": ("pretrain", "shifts")}.get(stage, ())
        for name in (*unused, "paper_name", "published_map"):
            content.pop(name, None)
        # Options count if they change the trained weights by more than rounding and chance.
        if self.member.framework == "torch" and stage != "infer":
            if self.options.precision != "fp32":
                content["precision"] = self.options.precision
            if self.options.accumulate != 1 and self.member.config.has_batch_norm:
                content["accumulate"] = self.options.accumulate  # batch statistics are then those of a part
        return digest(stage, content, self.store.dataset.digest, upstream)

    def for_member(self, name: str, lineup: str | None = None) -> "Job":
        """The same job for another member of the line-up, or of another line-up."""
        lineup = lineup or self.lineup
        return replace(self, lineup=lineup, member=member_of(lineup, name))

    @property
    def registered(self) -> str:
        """The name of the registered model whose versions are the member's fine-tuned models."""
        return registered_name(*self.identity().values())

    @property
    def about(self) -> str:
        """Description of the member in the MLflow UI."""
        member = self.member
        origin = f"{member.paper_name} of the paper" if member.paper_name else "Not in the paper"
        published = f", private MAP@100K {member.published_map} there (YouTube-8M)" if member.published_map else ""
        refit = f" The final refit of the line-up {self.first.lineup} on everything rated." if self.is_final else ""
        shifts = ", ".join(map(metrics.shift_label, member.shifts))
        return f"{origin}{published}.{refit} Predicted under the shifts {shifts}; its stages are the runs below it."

    def identity(self) -> dict[str, str]:
        """The tags that identify the member's runs."""
        return {runs.DATASET: self.experiment, runs.LINEUP: self.lineup, runs.MEMBER: self.member.name}

    def finetuning(self) -> Stage:
        """The stage finetune; ValueError with the command to run if a run that it builds on is missing."""
        return self.stage("finetune", *(record.key for record in self.upstream()))

    def pretrained(self) -> runs.Record | None:
        """The finished pretrain run that fine-tuning starts from, None for a member without one.

        ValueError with the command if it is missing.
        """
        if self.is_final:
            return self.first.pretrained()
        if self.member.pretrained_as:
            lineup = self.member.pretrained_as.partition("/")[0]
            return self.for_member(self.member.pretrained_name, lineup).pretrained()
        return self._required(self.stage("pretrain")) if self.member.pretrain else None

    def finetuned(self) -> runs.Record:
        """The finished finetune run by whose weights it predicts; ValueError with the command if it is missing."""
        if self.member.finetuned_as:
            lineup = self.member.finetuned_as.partition("/")[0]
            return self.for_member(self.member.finetuned_name, lineup).finetuned()
        return self._required(self.finetuning())

    def upstream(self) -> list[runs.Record]:
        """The runs that fine-tuning builds on: the pretrain run it starts from, both training runs of its bases.

        A final refit builds on those of the first fit and on the first fit itself.
        """
        if self.is_final:
            return [*self.first.upstream(), self.first.finetuned()]
        records = [self.pretrained()]
        for base in (self.for_member(name) for name in self.member.config.builds_on):
            records += [base.pretrained(), base.finetuned()]
        return [record for record in records if record]

    def chosen_steps(self) -> int:
        """How many steps (rounds) the fine-tuned weights were trained for; of a final refit, those of the first fit.

        ValueError with the command if they have not been fine-tuned.
        """
        start, tuned = self.pretrained(), self.first.finetuned()
        return int(tuned.metrics[metrics.CHOSEN_STEP] - (start.metrics[metrics.CHOSEN_STEP] if start else 0))

    @property
    def tuning(self) -> Schedule:
        """The schedule of fine-tuning: the member's, in a final refit with the `chosen_steps`."""
        schedule = self.member.finetune
        return replace(schedule, steps=self.chosen_steps()) if self.is_final else schedule

    def _required(self, stage: Stage) -> runs.Record:
        record = stage.finished()
        if record is None:
            name = self.member.name
            command = f"python -m training {stage.name} {name} --lineup {self.lineup} --data {self.store.folder}"
            missing = f"no finished {stage.name} run of {name} as configured, on this data"
            raise ValueError(f"{missing}; run `{command}` first")
        return record


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Result of training: the chosen checkpoint.

    `score` is its MAP on the holdout, None if nothing is positive there; `step` its number, counted in `unit` (step or
    round). `amount` describes the length of training in words. `model` is logged to MLflow with `example` as its input,
    which a `CodeModel` has itself.
    """

    score: float | None
    step: int
    unit: str
    amount: str
    model: object
    example: np.ndarray | None


def checkpoint_folder(stage: Stage, force: bool) -> Path:
    """Checkpoint folder from which an unfinished training stage resumes; `force` deletes it (in process 0 only)."""
    if force and processes.rank() == 0:
        shutil.rmtree(stage.kept, ignore_errors=True)
    return stage.kept


def train(
    job: Job,
    stage: Stage,
    *,
    folder: Path,
    last: int | None,
    params: Mapping[str, object],
    learn: Callable[[OpenStage], Fitted],
) -> runs.Record:
    """Open a training stage, call `learn`, and log what every training stage logs; returns its finished run.

    Logged are `params`, the videos, duration, chosen step, MAP (to the member's run too), the checkpoints in `folder`
    and the model. Afterwards `folder` is gone. `last` is the step of the checkpoint in `folder` from which the stage
    resumes, None if it begins.
    """
    member, data = job.member, job.store.dataset
    size = parameters_of(member, modalities=data.modalities, classes=data.classes, segment_frames=data.segment_frames)
    device = devices.CPU
    if job.kind.device is not None:
        device = job.kind.device(job.options)
        devices.log_device(stage.label, job.kind.title, device, is_chosen=job.options.device is not None)
    with stage.open(resumable=True, last=last) as opened:
        run = opened.run
        run.params({"device_name": device})
        sized = {} if size is None else {runs.PARAMETERS: size}
        run.params({**asdict(member.config), "seed": member.seed, **sized, **params})
        if job.is_final:
            run.params({"steps_run": job.first.finetuned().run_id})
        videos = job.store.videos.select("video_id", "split", "frames")
        run.dataset(job.experiment, job.store.dataset.digest, videos, stage.stage)
        with system_metrics(run):
            fitted = learn(opened)
        run.flush()
        seconds = opened.seconds
        run.artifact(folder, "checkpoint")
        if stage.stage == "finetune":
            run.text(job.trained(folder).description(), runs.DESCRIPTION)
        headline = {} if fitted.score is None else {metrics.map_of(SUBJECTS[stage.stage]): fitted.score}
        tags = {**job.identity(), runs.STAGE: stage.stage, runs.FRAMEWORK: member.framework}
        config = asdict(member.config)
        version = _version(job, headline) if stage.stage == "finetune" else None
        log_model(run, member.name, job.kind.format, fitted.model, fitted.example, config, tags, headline, version)
        with suppress(Away):  # whose curve waits to be sent
            _log_curve(run, fitted.step)
        # Last, so that a process killed before has logged none of them, and log_model has logged the MAP.
        opened.parent.metrics(headline)
        opened.parent.tags({runs.OUTDATED: "none" if job.is_final else LATER[stage.stage]})
        run.metrics({metrics.SECONDS: seconds, metrics.CHOSEN_STEP: fitted.step})
        score = "no rated holdout" if fitted.score is None else f"MAP {fitted.score:.4f}"
        text = "%s: %s, %s at %s %d, %.0f s"
        log.info(text, stage.label, fitted.amount, score, fitted.unit, fitted.step, seconds)
    record = opened.record()
    record.settle(folder, "checkpoint")
    return record


def _log_curve(run: Run, chosen: int) -> None:
    """Log a picture of the learning curve, with the part that earlier processes of a resumed stage have logged."""
    if not run.run_id.startswith(LOCAL):
        loss, scores = (runs.metric_history(run.run_id, name) for name in (metrics.LOSS, metrics.MAP))
        if loss.height or scores.height:
            run.figure(curve_figure(loss, scores, chosen), "curve.png")


def _version(job: Job, headline: Mapping[str, float]) -> Registered:
    """The version of the member's registered model that its fine-tuned model is."""
    identity, member = job.identity(), job.member
    scores = "".join(f" MAP@100K on the holdout {value:.4f}, without shifts." for value in headline.values())
    if job.is_final:
        scores = " It has learned from the holdout too, so it has no MAP."
    return Registered(
        name=job.registered,
        about=f"The member {member.name} of the line-up {job.lineup} on {job.experiment}. {job.about}",
        note=f"Fine-tuned by the source run, which has its curve, its data and its checkpoints.{scores}",
        tags={**identity, runs.DATA_DIGEST: job.store.dataset.digest},
        is_unmeasured=job.is_final,
    )


def _published(member: Member) -> dict[str, str]:
    """The tags of what the paper published of a member, for readers who compare it with ours."""
    if member.published_map is None:
        return {}
    return {runs.PAPER_NAME: member.paper_name, runs.PUBLISHED_MAP: f"{member.published_map:.4f}"}
