"""The stages of one member, each a tracked run: pretrain, finetune, infer.

A digest of all that its result depends on identifies a stage (`Job.digest`). If a finished run has that digest, it is
returned and nothing is repeated.
"""

import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl

from scoring.lists.ranked import BLOCK
from scoring.measures.average_precision import Evaluation, mean_average_precision
from scoring.tracked.figures import log_classes, shifts_figure
from terminal.progress import Progress
from tracking import metrics, runs
from tracking.stage import OpenStage, Stage
from training.fit import processes
from training.fit.checkpoints import Checkpoints
from training.fit.holdout import Holdout
from training.fit.loop import fit
from training.job import Fitted, Job, checkpoint_folder, train
from training.member import Schedule
from training.ranking import SplitRanking, scored_blocks
from training.windows.examples import Examples
from training.windows.segments import SegmentWindows
from videos.segments import rankable, segments_of

log = logging.getLogger(__name__)


def steps(job: Job, splits: Sequence[str]) -> list[tuple[str, str]]:
    """The stages of a member in their order, and the split of those that have one."""
    training = ["pretrain", "finetune"] if job.member.pretrain and not job.is_final else ["finetune"]
    if job.member.finetuned_as:
        training = []
    return [*((stage, "") for stage in training), *(("infer", split) for split in splits)]


def run_stage(job: Job, stage: str, split: str) -> runs.Record:
    """The finished run of one of `steps`."""
    if stage == "infer":
        return infer(job, split)
    return pretrain(job) if stage == "pretrain" else finetune(job)


def pretrain(job: Job) -> runs.Record:
    """Train on the video-level labels of the splits pretrain and finetune; the last checkpoint is used."""
    schedule = None if job.is_final else job.member.pretrain
    if schedule is None:
        raise ValueError(f"{job.member.name} has no pre-training; start with finetune")
    job.check("pretrain")
    stage = job.stage("pretrain")
    return _run_once(job, stage, lambda: _fit(job, stage, schedule, job.member.video_examples(job.store), None))


def finetune(job: Job) -> runs.Record:
    """Train the pre-trained weights on rated segments; the checkpoint with the best MAP on the holdout is used.

    A final refit has no holdout, and uses the last checkpoint.
    """
    job.check("finetune")
    if job.member.finetuned_as:
        raise ValueError(f"{job.member.name} has the weights of {job.member.finetuned_as}; start with infer")
    if job.kind.finetune is not None:
        return job.kind.finetune(job)
    start = job.pretrained()
    stage = job.finetuning()

    def work() -> runs.Record:
        return _fit(job, stage, job.tuning, job.member.rated_examples(job.store), start)

    return _run_once(job, stage, work)


def _run_once(job: Job, stage: Stage, work: Callable[[], runs.Record]) -> runs.Record:
    """`Stage.run_once`; of several processes (torchrun) the first alone has the lock, and the others follow it."""
    if processes.rank() > 0:
        return stage.done(job.force) or work()
    return stage.run_once(job.force, work, wait=processes.count() == 1)


def infer(job: Job, split: str) -> runs.Record:
    """Rank the segments of a split that can be rated, per shift: the best 100,000 per scored class."""
    if job.is_final and split != "test":
        raise ValueError(f"{job.lineup} has learned from the {split} split and is not scored on it; give --split test")
    job.check("infer")
    start = job.finetuned()
    stage = job.stage("infer", start.key, split=split)
    return stage.run_once(job.force, lambda: _infer(job, stage, split, start))


def _infer(job: Job, stage: Stage, split: str, start: runs.Record) -> runs.Record:
    segments = segments_of(job.store.split(split), job.store.dataset)
    ranked = segments["segment_id"].filter(segments.select(rankable(job.store.dataset)).to_series())
    if ranked.is_empty():
        raise ValueError(f"{job.store.folder} has no segment in the split {split}; ingest its shards first")
    judgments = job.store.judged(segments)
    kept = checkpoint_folder(stage, job.force)
    ranking = SplitRanking(kept, job.member.shifts, job.store.dataset.scored_classes, ranked)
    if ranking.done:
        log.info(
            "%s: resumes after %d of %d segments, where it was interrupted", stage.label, ranking.done, len(segments)
        )
    with stage.open(resumable=True, last=ranking.done or None) as opened, tempfile.TemporaryDirectory() as folder:
        run = opened.run
        run.params({"shifts": list(job.member.shifts), "segments": len(ranked), "checkpoint_run": start.run_id})
        run.dataset(job.experiment, job.store.dataset.digest, ranked.to_frame(), split)
        _rank(job, start, segments, ranking, opened, stage.label)
        seconds = opened.seconds
        windows = len(segments) * len(job.member.shifts)
        run.metrics({metrics.SECONDS: seconds, metrics.WINDOWS_PER_SECOND: windows / seconds})
        artifact = Path(folder) / "predictions"
        artifact.mkdir()
        ranked.to_frame().write_parquet(artifact / "segments.parquet")
        measured: dict[int, Evaluation] = {}
        for shift, submission in ranking.submissions():
            submission.lists.write_parquet(artifact / f"shift{shift}.parquet", row_group_size=BLOCK)
            if (judgments["relevance"] > 0).any():
                measured[shift] = mean_average_precision(submission, judgments)
        if measured:
            maps = {shift: evaluation.map for shift, evaluation in measured.items()}
            opened.headline({metrics.map_of(metrics.shift(shift)): value for shift, value in maps.items()})
            run.figure(shifts_figure(maps), "shifts.png")
            log_classes(run, measured[min(measured, key=abs)].per_class)  # without a shift, where it is predicted
        run.artifact(artifact, "predictions")
        shifts = ", ".join(map(metrics.shift_label, job.member.shifts))
        log.info("%s: %d segments under the shifts %s, %.0f s", stage.label, len(ranked), shifts, seconds)
    shutil.rmtree(kept, ignore_errors=True)
    return opened.record()


def _rank(
    job: Job, start: runs.Record, segments: pl.DataFrame, ranking: SplitRanking, opened: OpenStage, text: str
) -> None:
    """Add those of `segments` that can be rated to `ranking`, from where it is, with their scores under each shift."""
    with start.reading("checkpoint") as (checkpoint,):
        scorer = job.trained(checkpoint).scorer(job.store, segments)
    with Progress(text, len(segments)) as progress:
        progress.advance(ranking.done)
        for first_code, scores, done in scored_blocks(scorer, segments, job.store.dataset, ranking.done):
            progress.advance(done - ranking.done)
            if ranking.add(first_code, scores, done):
                opened.checkpoint()
            opened.run.progress(done, len(segments), "segment")


def _fit(job: Job, stage: Stage, schedule: Schedule, examples: Examples, start: runs.Record | None) -> runs.Record:
    """Fit a gradient member, from the last checkpoint of `start` if there is one; returns the finished run."""
    member, chosen = job.member, "last" if stage.stage == "pretrain" else "best"
    estimator, holdout = job.estimator(start), Holdout(job.store, member.sampler)
    checkpoints = Checkpoints(checkpoint_folder(stage, job.force))
    processes.wait()
    settings = {"member": member, "schedule": schedule, "checkpoints": checkpoints}
    if processes.rank() > 0:  # process 0 alone logs and writes
        fit(estimator, examples, **settings)
        processes.wait()  # until all have read the checkpoints, and until process 0 has finished the stage
        processes.wait()
        record = stage.finished()
        assert record is not None  # finished by process 0
        return record

    def learn(opened: OpenStage) -> Fitted:
        run = opened.run
        text = "%s: %s steps of %d examples (line-up %s), a checkpoint every %s to resume from if interrupted"
        steps, every = f"{schedule.steps:,}", f"{schedule.evaluate_every:,}"
        log.info(text, stage.label, steps, schedule.batch, job.lineup, every)
        if checkpoints.state:
            log.info("%s: resumes at step %d, where it was interrupted", stage.label, checkpoints.state.last)
        with Progress(stage.label, schedule.steps) as progress:

            def report(values: Mapping[str, float], step: int) -> None:
                run.metrics(values, step)
                if checkpoints.state:
                    done = step - checkpoints.state.begin
                    run.progress(done, schedule.steps, "step")
                    progress.at(done, values)

            fit(
                estimator,
                examples,
                **settings,
                validate=lambda: holdout.score(estimator),
                report=report,
                kept=opened.checkpoint,
            )
        processes.wait()
        # Fine-tuning continues with the moments of pre-training; what is fine-tuned is read to predict with.
        checkpoints.finish(chosen, moments=chosen == "last")
        estimator.restore(*checkpoints.read(chosen, member.name))
        segments = segments_of(job.store.videos.head(100), job.store.dataset)
        return Fitted(
            score=holdout.score(estimator),
            step=estimator.step,
            unit="step",
            amount=f"{schedule.steps} steps",
            model=estimator.servable(),
            example=SegmentWindows(job.store, segments, member.sampler).at(np.arange(2), 0).features,
        )

    params = {**asdict(schedule), **asdict(job.options), "examples": len(examples), "processes": processes.count()}
    params["start_run"] = start.run_id if start else ""
    last = checkpoints.state.last if checkpoints.state else None
    record = train(job, stage, folder=checkpoints.folder, last=last, params=params, learn=learn)
    processes.wait()
    return record
