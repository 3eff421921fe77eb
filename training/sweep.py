"""The settings of a member's fine-tuning, compared on folds of the split finetune; the holdout is not read.

The rated videos are dealt to folds (`videos.splits.fold_of`). With each setting the member is fine-tuned once per fold,
from its pre-trained weights and on the other folds, and scores the fold at every checkpoint. MAP is that of all folds
together. Pre-training has seen the video-level labels of these videos, so the settings are compared with each other,
and with nothing else.
"""

import re
import tempfile
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl

from scoring.fusion.fusion import merge_shifts
from scoring.lists.ranking import rank_scores
from scoring.measures.average_precision import mean_average_precision
from terminal.progress import Progress
from terminal.tables import table_text
from tracking import metrics, runs
from tracking.stage import Stage, digest
from training.fit.checkpoints import Checkpoints
from training.fit.loop import fit
from training.job import Job
from training.member import Schedule
from training.members import WIDEST
from training.prior import with_prior
from training.windows.examples import LabelMask
from training.windows.segments import SegmentWindows
from videos.segments import segments_of
from videos.splits import fold_of

BLOCK = 512  # segments scored at a time
PRIORS = (0.3, 0.5, 0.7)  # exponents
OWN = "as configured"
COLUMNS = ("setting", "MAP", "steps", "shifts", "MAP with them")


def settings(configured: Schedule) -> dict[str, Schedule]:
    """The schedules that are compared, named after their one difference from `configured`, the first.

    The number of steps is none of them: it is read off the curve of each.
    """
    masks = [mask for mask in get_args(LabelMask) if mask != configured.label_mask]
    changes: list[tuple[str, Any]] = [
        *(("learning_rate", configured.learning_rate * factor) for factor in (1 / 3, 3)),
        *(("label_mask", mask) for mask in masks),
        ("varied", 0.0 if configured.varied else 0.5),
        ("average", 1 if configured.average > 1 else 3),
    ]
    return {
        OWN: configured,
        **{f"{field} {_short(value)}": replace(configured, **{field: value}) for field, value in changes},
    }


def sweep(job: Job, folds: int) -> list[tuple[str, runs.Record]]:
    """The finished run of each setting, best MAP first; ValueError for a member that does not train by steps."""
    if job.kind.finetune is not None or job.member.finetuned_as:
        raise ValueError(f"{job.member.name} is not fine-tuned by steps; sweep another member")
    if folds < 2:
        raise ValueError(f"{folds} folds leave nothing to train on; give at least 2")
    swept = []
    for name, schedule in settings(job.member.finetune).items():
        variant = replace(job, member=replace(job.member, finetune=schedule, shifts=WIDEST))
        variant.check("finetune")
        swept.append((name, _swept(variant, name, folds)))
    return sorted(swept, key=lambda setting: -setting[1].metrics[metrics.map_of(metrics.SWEPT)])


def print_sweep(job: Job, folds: int) -> None:
    """`sweep`, and a table: MAP without a shift at the best step, and the best range of shifts there with its MAP."""
    print(table_text(COLUMNS, [cells(name, record) for name, record in sweep(job, folds)]))


def cells(name: str, record: runs.Record) -> list[str]:
    """A row of COLUMNS."""
    values = record.metrics
    ranges = {match[1]: values[key] for key in values if (match := re.fullmatch(r"shifts (.+)/map", key))}
    best = max(ranges, key=lambda shifts: ranges[shifts], default=None)
    shifted = [best, f"{ranges[best]:.4f}"] if best else ["-", "-"]
    return [name, f"{values[metrics.map_of(metrics.SWEPT)]:.4f}", f"{values[metrics.CHOSEN_STEP]:.0f}", *shifted]


def _swept(job: Job, name: str, folds: int) -> runs.Record:
    tuning = job.finetuning()
    stage = replace(
        tuning,
        stage="sweep",
        digest=digest("sweep", tuning.digest, folds, job.member.shifts),
        note=f"Fine-tuning {name}, on {folds} folds of the split finetune: MAP of the videos that were left out.",
    )
    return stage.run_once(job.force, lambda: _measured(job, stage, name, folds))


def _measured(job: Job, stage: Stage, name: str, folds: int) -> runs.Record:
    segments = segments_of(job.store.split("finetune"), job.store.dataset)
    judgments = job.store.judged(segments)
    segments = segments.join(judgments, on="segment_id", how="semi", maintain_order="left")
    columns = [int(class_id) for class_id in job.store.dataset.scored_classes]

    def map_of(scores: np.ndarray) -> float:
        """MAP of scores (shifts, segments, classes), merged by rank."""
        lists = [rank_scores(one, columns, segments["segment_id"]) for one in scores]
        return mean_average_precision(merge_shifts(lists) if len(lists) > 1 else lists[0], judgments).map

    shifts = job.member.shifts
    plain = shifts.index(min(shifts, key=abs))
    with stage.open() as opened:
        run = opened.run
        start = job.pretrained()
        run.params({**asdict(job.member.finetune), "setting": name, "folds": folds})
        run.params({"start_run": start.run_id if start else ""})
        with Progress(f"{stage.label}, {name}", folds) as progress:
            scored = _out_of_fold(job, start, segments, folds, progress)
        begin = min(scored)
        curve = {step: map_of(scores[plain : plain + 1]) for step, scores in scored.items()}
        for step, value in curve.items():
            run.metrics({metrics.MAP: value}, step - begin)
        best = max(curve, key=lambda step: curve[step])
        run.metrics({metrics.map_of(metrics.SWEPT): curve[best], metrics.CHOSEN_STEP: best - begin})
        run.metrics({metrics.SECONDS: opened.seconds})
        at_best = scored[best]
        for low, high in combinations(sorted(shifts), 2):
            if low <= shifts[plain] <= high:
                kept = [i for i, shift in enumerate(shifts) if low <= shift <= high]
                run.metrics({metrics.map_of(metrics.shifts_between(low, high)): map_of(at_best[kept])})
        videos = segments["video_id"].rle_id().to_numpy()
        for exponent in PRIORS:
            mixed = with_prior(at_best[plain : plain + 1], videos, exponent)
            run.metrics({metrics.map_of(metrics.prior(exponent)): map_of(mixed)})
    return opened.record()


def _out_of_fold(
    job: Job, start: runs.Record | None, segments: pl.DataFrame, folds: int, progress: Progress
) -> dict[int, np.ndarray]:
    """Scores (shifts, segments, classes) at each checkpoint, by step; each video's by the model without its fold."""
    shape = (len(job.member.shifts), len(segments), len(job.store.dataset.scored_classes))
    scored: dict[int, np.ndarray] = {}
    videos = job.store.split("finetune")["video_id"].to_list()
    fold = np.array([fold_of(video, folds) for video in segments["video_id"]])
    for number in range(folds):
        rows = np.flatnonzero(fold == number)
        others = [video for video in videos if fold_of(video, folds) != number]
        if not (len(rows) and others):
            raise ValueError(f"{folds} folds of {len(videos)} videos leave one empty; give fewer folds")
        for step, scores in _fold_scores(job, start, segments[rows], others).items():
            scored.setdefault(step, np.zeros(shape, dtype=np.float32))[:, rows] = scores
        progress.advance(1)
    return scored


def _fold_scores(
    job: Job, start: runs.Record | None, segments: pl.DataFrame, videos: list[str]
) -> dict[int, np.ndarray]:
    """Scores (shifts, segments, classes) of `segments` at each checkpoint of fine-tuning on `videos`."""
    member, store, scored = job.member, job.store, {}
    windows, estimator = SegmentWindows(store, segments, member.sampler), job.estimator(start)

    def score() -> None:
        predictor = estimator.predictor(np.asarray(store.dataset.scored_classes, dtype=np.int64))
        blocks = [
            predictor(windows.at(rows, *member.shifts)).reshape(len(member.shifts), len(rows), -1)
            for rows in np.array_split(np.arange(len(segments)), -(-len(segments) // BLOCK))
        ]
        scored[estimator.step] = np.concatenate(blocks, axis=1)

    examples = member.rated_examples(store, videos)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder))
        fit(estimator, examples, member=member, schedule=member.finetune, checkpoints=checkpoints, validate=score)
    return scored


def _short(value: object) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)
