"""The stages of the boosted member: fold models of its bases, the booster on what they say, and its predictions."""

import json
import logging
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from scoring.average_precision import mean_average_precision
from scoring.dataset import segments_of
from scoring.ranked import rank_scores
from tracking import runs
from tracking.models import log_model
from tracking.store import local_folder
from training import processes
from training.checkpoints import Checkpoints
from training.estimators.lightgbm import BoostedEstimator
from training.jobs import Job, Scorer, already, label, stage_run
from training.models.boosted import BoostedConfig, Evidence, candidates, feature_names, features
from training.out_of_fold import Base, FoldModels, fit_folds, rated_pairs
from training.progress import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)


def finetune(job: Job) -> runs.Record:
    """Fine-tune the bases per fold, then grow the booster on rated pairs; its best block on the holdout counts."""
    processes.alone(f"training {job.member.name} in LightGBM")
    config = _config(job)
    upstream = job.upstream()
    digest = job.digest("finetune", *upstream)
    if found := job.finished("finetune", digest):
        return already(found)
    folder = local_folder() / "checkpoints" / f"{job.member.name}-finetune-{digest}"
    if job.force:
        shutil.rmtree(folder, ignore_errors=True)
    with stage_run(job, "finetune", digest) as (run, parent):
        run.params({**asdict(config), "seed": job.member.seed, "start_runs": ",".join(upstream)})
        run.dataset(job.experiment, job.store.dataset.digest, job.store.videos.select("video_id", "split"), "finetune")
        began = time.perf_counter()
        bases = [_base(job, base) for base in config.bases]
        for base in bases:
            fit_folds(base, job.store, config.folds, folder, label(job, "finetune"))
        models = FoldModels(job.store, bases, config.folds, folder)

        segments = segments_of(job.store.split("finetune"), job.store.dataset)
        evidence = models.evidence(segments)
        rows, classes, labels = rated_pairs(job.store, "finetune", segments, config.mined, job.member.seed)
        pairs = features(evidence)[rows, classes]
        estimator = _estimator(job, folder)
        validate = _holdout(job, models, estimator)
        with Progress(label(job, "finetune"), config.rounds) as progress:

            def report(values, step: int) -> None:
                run.metrics(values, step)
                progress.at(step, values)

            estimator.fit(pairs, labels, validate, report)
        headline = {} if estimator.best_map is None else {"finetuned/map_at_100k": estimator.best_map}
        run.metrics({**headline, "seconds": time.perf_counter() - began, "chosen_step": estimator.best})
        run.text(json.dumps(estimator.importances(), indent=1), "importances.json")
        run.figure(_importances(estimator), "importances.png")
        parent.metrics(headline)
        run.artifact(folder, "checkpoint")
        log_model(
            run, job.member.name, "lightgbm", estimator.booster, pairs[:2], asdict(config), job.identity(), headline
        )
        found = "no rated holdout" if estimator.best_map is None else f"MAP {estimator.best_map:.4f}"
        log.info(
            "%s: %d rounds on %s rated pairs, %s at round %d, %.0f s",
            label(job, "finetune"),
            estimator.rounds,
            f"{len(labels):,}",
            found,
            estimator.best,
            time.perf_counter() - began,
        )
    shutil.rmtree(folder)
    return runs.get_run(run.run_id)


def _importances(estimator: BoostedEstimator) -> "Figure":
    """What share of the gain each feature brought, the largest on top."""
    from matplotlib.figure import Figure

    shares = sorted(estimator.importances().items(), key=lambda item: item[1])
    figure = Figure(figsize=(8, 0.28 * len(shares) + 1), layout="constrained")
    axes = figure.subplots()
    axes.barh([name for name, _ in shares], [share for _, share in shares], color="#0072B2")
    axes.set_xlabel("share of the gain")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def scorer(job: Job, start: runs.Record, segments: pl.DataFrame) -> Scorer:
    """Scores of `segments` by the booster of a finetune run; blocks must hold whole videos."""
    config, folder = _config(job), start.artifact("checkpoint")
    models = FoldModels(job.store, [_base(job, base) for base in config.bases], config.folds, folder)
    estimator = _estimator(job, folder)
    return lambda entries: _scores(estimator, config, models.evidence(segments[entries]))[None]


def _estimator(job: Job, folder: Path) -> BoostedEstimator:
    names = feature_names(_config(job), list(job.store.dataset.modalities))
    return BoostedEstimator(_config(job), names, folder, job.member.seed)


def _scores(
    estimator: BoostedEstimator, config: BoostedConfig, evidence: Evidence, rounds: int | None = None
) -> np.ndarray:
    """(N, S): the booster's probability where a pair is a candidate, the neural score less 1, so below 0, elsewhere."""
    scores = evidence.mean_scores - 1
    chosen = candidates(evidence, config.candidates)
    scores[chosen] = estimator.predict(features(evidence)[chosen], rounds)
    return scores


def _holdout(job: Job, models: FoldModels, estimator: BoostedEstimator):
    """MAP of the booster as it stands on the rated segments of the holdout; None where nothing there is positive."""
    segments = segments_of(job.store.split("holdout"), job.store.dataset)
    judgments = job.store.judged(segments)
    rated = segments.join(judgments, on="segment_id", how="semi")["video_id"].unique()
    segments = segments.filter(pl.col("video_id").is_in(rated.implode()))
    if not (judgments["relevance"] > 0).any():
        return lambda: None
    evidence = models.evidence(segments)  # once: only the booster changes from block to block
    columns = job.store.dataset.scored_classes

    def validate() -> float:
        scores = _scores(estimator, _config(job), evidence, estimator.rounds)
        return mean_average_precision(rank_scores(scores, columns, segments["segment_id"]), judgments).map

    return validate


def _config(job: Job) -> BoostedConfig:
    assert isinstance(job.member.config, BoostedConfig)
    return job.member.config


def _base(job: Job, name: str) -> Base:
    """A base with the number of steps after which its own fine-tuning was best on the holdout."""
    base = job.of(name)
    start, tuned = base.pretrained(), base.finetuned()
    progress = Checkpoints(tuned.artifact("checkpoint")).progress
    assert progress is not None
    pretrained = Checkpoints(start.artifact("checkpoint")) if start else None
    return Base(base.member, base.estimator, pretrained, progress.best - progress.begin)
