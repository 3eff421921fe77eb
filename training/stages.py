"""The stages of one member, each one tracked run: pretrain, finetune, infer.

A stage is identified by a digest over everything its result depends on: the member's configuration, the dataset's
digest, and the run it builds on. A finished run with that digest is found and returned instead of doing it again.
"""

import logging
import shutil
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl

from scoring.lists.ranked import K, Submission
from scoring.lists.top_segments import TopSegments
from scoring.measures.average_precision import mean_average_precision
from terminal.progress import Progress
from tracking import runs
from tracking.models import log_model
from tracking.store import local_folder
from training.checks import check_scored, check_stage
from training.fit import processes
from training.fit.checkpoints import Checkpoints
from training.fit.holdout import Holdout
from training.fit.loop import fit
from training.job import Job, Scorer, already, label, stage_run
from training.windows.examples import Examples, SegmentExamples, VideoExamples
from training.windows.segments import SegmentWindows
from videos.segments import segments_of, video_blocks

log = logging.getLogger(__name__)

BLOCK = 1024  # segments predicted at a time, under all shifts
DONE = {"pretrain": "pretrained", "finetune": "finetuned"}  # the headline metric that a stage gives its member


def pretrain(job: Job) -> runs.Record:
    """Learn from the video-level labels of the splits pretrain and finetune; the last checkpoint counts."""
    schedule = job.member.pretrain
    if schedule is None:
        raise ValueError(f"{job.member.name} has no pre-training; start with finetune")
    check_stage(job, "pretrain")
    digest = job.digest("pretrain")
    if found := job.finished("pretrain", digest):
        return already(found)
    examples = VideoExamples(job.store, job.member.sampler)
    return _fit(job, "pretrain", digest, examples, None)


def finetune(job: Job) -> runs.Record:
    """Go on from the pre-trained weights on rated segments; the checkpoint with the best MAP on the holdout counts."""
    check_stage(job, "finetune")
    if job.kind.finetune is not None:
        return job.kind.finetune(job)
    start = job.pretrained()
    digest = job.digest("finetune", start.run_id if start else "")
    if found := job.finished("finetune", digest):
        return already(found)
    examples = SegmentExamples(job.store, job.member.sampler, job.member.finetune.label_mask)
    return _fit(job, "finetune", digest, examples, start)


def infer(job: Job, split: str) -> runs.Record:
    """Rank the segments of a split under each shift of the member, keeping the best 100,000 of every class."""
    check_stage(job, "infer")
    start = job.finetuned()
    digest = job.digest("infer", start.run_id, split)
    if found := job.finished("infer", digest, split=split):
        return already(found)
    segments = segments_of(job.store.split(split), job.store.dataset)
    check_scored(job.store)
    if segments.is_empty():
        raise ValueError(f"{job.store.folder} has no segment in the split {split}; ingest its shards first")
    judgments = job.store.judged(segments)
    with stage_run(job, "infer", digest, split) as (run, parent), tempfile.TemporaryDirectory() as folder:
        run.params({"shifts": list(job.member.shifts), "segments": len(segments), "checkpoint_run": start.run_id})
        run.dataset(job.experiment, job.store.dataset.digest, segments.select("segment_id"), split)
        began = time.perf_counter()
        predictions = _predict(job, start, segments, label(job, f"infer {split}"))
        seconds = time.perf_counter() - began
        run.metrics({"seconds": seconds, "windows_per_second": len(segments) * len(predictions) / seconds})
        place = Path(folder) / "predictions"
        place.mkdir()
        segments.select("segment_id").write_parquet(place / "segments.parquet")
        for shift, submission in predictions.items():
            submission.lists.write_parquet(place / f"shift{shift}.parquet")
            if (judgments["relevance"] > 0).any():
                score = {f"shift{shift}/map_at_100k": mean_average_precision(submission, judgments).map}
                run.metrics(score)
                parent.metrics(score)
        run.artifact(place, "predictions")
        shifts = ", ".join(f"{shift:+d}" if shift else "0" for shift in predictions)
        text = label(job, f"infer {split}")
        log.info("%s: %d segments under the shifts %s, %.0f s", text, len(segments), shifts, seconds)
    return runs.get_run(run.run_id)


def _predict(job: Job, start: runs.Record, segments: pl.DataFrame, text: str) -> dict[int, Submission]:
    """Ranked lists of `segments` for each shift of the member, with their scores, over the scored classes."""
    scorer = _scorer(job, start, segments)
    classes = job.store.dataset.scored_classes
    best = {shift: TopSegments(classes, segments["segment_id"], K) for shift in job.member.shifts}
    with Progress(text, len(segments)) as progress:
        for entries in video_blocks(segments, BLOCK):
            for top, scores in zip(best.values(), scorer(entries), strict=True):
                top.add(int(entries[0]), scores)
            progress.advance(len(entries))
    return {shift: top.submission() for shift, top in best.items()}


def _scorer(job: Job, start: runs.Record, segments: pl.DataFrame) -> Scorer:
    """What scores rows of `segments` under the member's shifts, by the best checkpoint of a finetune run."""
    if job.kind.scorer is not None:
        return job.kind.scorer(job, start, segments)
    estimator = job.estimator()
    estimator.restore(*Checkpoints(start.artifact("checkpoint")).read("best", job.member.name))
    predictor = estimator.predictor(np.asarray(job.store.dataset.scored_classes, dtype=np.int64))
    windows = SegmentWindows(job.store, segments, job.member.sampler)
    shifts = job.member.shifts
    return lambda entries: predictor(windows.at(entries, *shifts)).reshape(len(shifts), len(entries), -1)


def _fit(job: Job, stage: str, digest: str, examples: Examples, start: runs.Record | None) -> runs.Record:
    """Fit a gradient member for one stage, log what it became, and return the run."""
    member, chosen = job.member, "last" if stage == "pretrain" else "best"
    schedule = member.pretrain if stage == "pretrain" else member.finetune
    assert schedule is not None
    estimator, holdout = job.estimator(), Holdout(job.store, member.sampler)
    checkpoints = Checkpoints(local_folder() / "checkpoints" / f"{member.name}-{stage}-{digest}")
    if job.force and processes.rank() == 0:
        shutil.rmtree(checkpoints.folder, ignore_errors=True)
    if start is not None:
        estimator.restore(*Checkpoints(start.artifact("checkpoint")).read("last", member.name))
    processes.wait()
    if processes.rank() > 0:  # learns along with the first process, which alone logs and writes
        fit(estimator, member, schedule, examples, lambda: None, checkpoints, lambda *_: None)
        processes.wait()
        return runs.find_run(job.experiment, **job.identity(), stage=stage, config_digest=digest)
    with stage_run(job, stage, digest) as (run, parent):
        run.params({**asdict(member.config), **asdict(schedule), "seed": member.seed, "examples": len(examples)})
        run.params({"start_run": start.run_id if start else "", **asdict(job.options), "processes": processes.count()})
        table = job.store.videos.select("video_id", "split", "frames")
        run.dataset(job.experiment, job.store.dataset.digest, table, stage)
        text = "%s: %s steps of %d examples (line-up %s), a checkpoint every %s; if stopped it goes on from the last"
        steps, every = f"{schedule.steps:,}", f"{schedule.evaluate_every:,}"
        log.info(text, label(job, stage), steps, schedule.batch, job.lineup, every)
        if checkpoints.progress:
            log.info("%s: goes on at step %d, where it was stopped", label(job, stage), checkpoints.progress.last)
        began = time.perf_counter()
        with Progress(label(job, stage), schedule.steps) as progress:

            def report(values, step: int) -> None:
                run.metrics(values, step)
                if checkpoints.progress:
                    progress.at(step - checkpoints.progress.begin, values)

            validate = lambda: holdout.score(estimator)  # noqa: E731
            fit(estimator, member, schedule, examples, validate, checkpoints, report)
        reached = checkpoints.progress
        assert reached is not None
        estimator.restore(*checkpoints.read(chosen, member.name))
        score = validate()
        headline = {} if score is None else {f"{DONE[stage]}/map_at_100k": score}
        run.metrics({**headline, "seconds": time.perf_counter() - began, "chosen_step": estimator.step})
        parent.metrics(headline)
        run.artifact(checkpoints.folder, "checkpoint")
        segments = segments_of(job.store.videos.head(100), job.store.dataset)
        example = SegmentWindows(job.store, segments, member.sampler).at(np.arange(2), 0).features
        tags = {**job.identity(), runs.STAGE: stage}
        model, settings = estimator.servable(), asdict(member.config)
        log_model(run, member.name, job.kind.format, model, example, settings, tags, headline)
        found = "no rated holdout" if score is None else f"MAP {score:.4f} at step {estimator.step}"
        log.info("%s: %d steps, %s, %.0f s", label(job, stage), schedule.steps, found, time.perf_counter() - began)
    shutil.rmtree(checkpoints.folder)
    processes.wait()
    return runs.get_run(run.run_id)
