"""The stages of the boosted member: fine-tuning its bases per fold, training the booster on them, prediction."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from files.replacing import replacing
from scoring.lists.ranked import K, Submission, from_codes
from scoring.lists.ranking import rank_within_class
from scoring.measures.average_precision import mean_average_precision
from terminal.progress import Progress
from tracking import runs
from tracking.code_models import CodeModel
from tracking.stage import OpenStage, Stage
from training.boosted.booster import BoostedEstimator
from training.boosted.folds import CLASS_MEANS, SEGMENTS, Base, FoldModels, fit_folds, fold_predictors, rated_pairs
from training.fit.checkpoints import Checkpoints
from training.fit.loop import Predictor
from training.job import Fitted, Job, checkpoint_folder, train
from training.member import Member
from training.models.boosted import BoostedConfig, Evidence, candidates, feature_names, features
from training.trained import Scorer, Trained
from training.windows.sampler import Sampler
from training.windows.segments import SegmentWindows
from videos.dataset import Dataset
from videos.segments import segments_of, video_blocks
from videos.store import FrameStore

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def finetune(job: Job) -> runs.Record:
    """Fine-tune the bases per fold, then train the booster on rated pairs; the block with the best MAP is used."""
    stage = job.finetuning()
    return stage.run_once(job.force, lambda: _finetune(job, stage))


def _finetune(job: Job, stage: Stage) -> runs.Record:
    config = _config(job)
    if job.is_final:
        config = replace(config, rounds=job.chosen_steps())
    folder = checkpoint_folder(stage, job.force)

    def learn(opened: OpenStage) -> Fitted:
        run = opened.run
        segments = segments_of(job.store.split("finetune"), job.store.dataset)
        rows, classes, labels = rated_pairs(job.store, "finetune", segments, config.mined, job.member.seed)
        if not len(labels):
            raise ValueError(f"{job.store.folder} rates no scored class in the split finetune; ingest rated shards")
        bases = [_base(job, base) for base in config.bases]
        for base in bases:
            fit_folds(base, job.store, config.folds, folder, stage.label)
        models = FoldModels(
            job.store, _with_models(bases, job.store.dataset, config.folds, folder), config.folds, folder
        )
        with replacing(folder / CLASS_MEANS) as temporary:
            np.save(temporary, models.means)
        pairs = read_pairs(models.evidence, segments, rows, classes, config.candidates).features
        estimator = _estimator(job, config, folder)
        validate = _holdout(job, models, estimator)
        with Progress(stage.label, config.rounds) as progress:

            def report(values: Mapping[str, float], step: int) -> None:
                run.metrics(values, step)
                run.progress(step, config.rounds, "round")
                progress.at(step, values)

            estimator.fit(pairs, labels, validate, report, opened.checkpoint)
        run.text(json.dumps(estimator.importances(), indent=1), "importances.json")
        run.figure(_importances(estimator), "importances.png")
        return Fitted(
            score=estimator.best_map,
            step=estimator.best,
            unit="round",
            amount=f"{estimator.rounds} rounds on {len(labels):,} rated pairs",
            model=_served(job, folder),
            example=None,
        )

    last = _estimator(job, config, folder).rounds if folder.exists() else None
    params = {"rounds": config.rounds, "start_runs": ",".join(run.run_id for run in job.upstream())}
    return train(job, stage, folder=folder, last=last, params=params, learn=learn)


def _served(job: Job, folder: Path) -> CodeModel:
    """The model that is logged: the booster and the models of its folds, which take the frames of a video."""
    videos = job.store.split("finetune").sort("frames").tail(1)
    segments = segments_of(videos, job.store.dataset).sort("start")
    frameworks = {base.member.framework for base in map(job.for_member, _config(job).bases)}
    return CodeModel(
        module="training.serving",
        factory="VideoModel",
        files={runs.DESCRIPTION: job.trained(folder).description(), "checkpoint": folder},
        unused="moments.safetensors",
        frameworks={"lightgbm", *frameworks},
        example=SegmentWindows(job.store, segments, Sampler("sequence")).at(np.arange(len(segments)), 0).features,
    )


def _importances(estimator: BoostedEstimator) -> "Figure":
    """Bar chart of each feature's share of the gain, largest on top."""
    from matplotlib.figure import Figure

    shares = sorted(estimator.importances().items(), key=lambda item: item[1])
    figure = Figure(figsize=(8, 0.28 * len(shares) + 1), layout="constrained")
    axes = figure.subplots()
    axes.barh([name for name, _ in shares], [share for _, share in shares], color="#0072B2")
    axes.set_xlabel("share of the gain")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def scorer(trained: Trained) -> Callable[[FrameStore, pl.DataFrame], Scorer]:
    """Reads the fine-tuned booster and the models of its folds; returns what makes scorers of a store's segments.

    The blocks of a scorer must consist of whole videos.
    """
    config, folder = trained.member.config, trained.checkpoint
    assert isinstance(config, BoostedConfig)
    bases = [Base(base, partial(trained.estimator, base), None, 0) for base in trained.bases]
    with_models = _with_models(bases, trained.dataset, config.folds, folder)
    estimator = BoostedEstimator(config, feature_names(config, list(trained.dataset.modalities)), folder, 0)

    def of(store: FrameStore, segments: pl.DataFrame) -> Scorer:
        models = FoldModels(store, with_models, config.folds, folder)
        return lambda rows: score_all(models.evidence(segments[rows]), config.candidates, estimator.predict)[None]

    return of


def _with_models(
    bases: Sequence[Base], dataset: Dataset, folds: int, folder: Path
) -> list[tuple[Member, list[Predictor]]]:
    return [(base.member, fold_predictors(base, dataset, folds, folder)) for base in bases]


def score_all(evidence: Evidence, count: int, predict: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Scores (N, S): the booster's probability for candidates, mean neural score - 1 (below 0) for all other pairs."""
    scores = evidence.mean_scores - 1
    pairs = np.nonzero(candidates(evidence, count))
    scores[pairs] = predict(features(evidence, *pairs))
    return scores


@dataclass(frozen=True)
class Pairs:
    """P pairs: `features` (P, F), mean neural scores `neural` (P,), `is_candidate` (P,)."""

    features: np.ndarray
    neural: np.ndarray
    is_candidate: np.ndarray


def read_pairs(
    evidence_of: Callable[[pl.DataFrame], Evidence],
    segments: pl.DataFrame,
    rows: np.ndarray,
    classes: np.ndarray,
    count: int,
) -> Pairs:
    """Features of pairs, computed one block of videos at a time, since evidence on all pairs is large.

    A pair is a row of `segments` (`segments_of`) in `rows` (P,) and a scored class's column in `classes` (P,);
    `count` classes per video are candidates.
    """
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    parts = []
    for entries in video_blocks(segments, SEGMENTS):
        inside = order[slice(*np.searchsorted(ordered, [entries[0], entries[-1] + 1]))]
        if len(inside):
            evidence, pairs = evidence_of(segments[entries]), (rows[inside] - entries[0], classes[inside])
            chosen = candidates(evidence, count)[pairs]
            parts.append((features(evidence, *pairs), evidence.mean_scores[pairs], chosen))
    read = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
    back = np.argsort(order)
    return Pairs(*(array[back] for array in read))


def _estimator(job: Job, config: BoostedConfig, folder: Path) -> BoostedEstimator:
    return BoostedEstimator(config, feature_names(config, list(job.store.dataset.modalities)), folder, job.member.seed)


def _holdout(job: Job, models: FoldModels, estimator: BoostedEstimator) -> Callable[[], float | None]:
    """Function for the booster's current MAP on the rated segments of the holdout, None if none is positive.

    As for neural members, unrated segments are not ranked: they could only push rated ones beyond the cutoff.
    """
    segments = segments_of(job.store.split("holdout"), job.store.dataset)
    judgments = job.store.judged(segments)
    rows, classes, labels = rated_pairs(job.store, "holdout", segments, 0, job.member.seed)
    if not labels.any():
        return lambda: None
    # Computed once: only the booster changes from block to block.
    pairs = read_pairs(models.evidence, segments, rows, classes, _config(job).candidates)
    columns = job.store.dataset.scored_classes

    def validate() -> float:
        scores = pairs.neural - 1
        scores[pairs.is_candidate] = estimator.predict(pairs.features[pairs.is_candidate], estimator.rounds)
        ranked = rank_pairs(rows, classes, scores, columns, segments["segment_id"])
        return mean_average_precision(ranked, judgments).map

    return validate


def rank_pairs(
    rows: np.ndarray, classes: np.ndarray, scores: np.ndarray, class_ids: Sequence[int], segments: pl.Series
) -> Submission:
    """Ranked lists of the pairs (row of `segments`, index in `class_ids`); equal scores are ordered by ascending id."""
    lists = {class_id: np.empty(0, dtype=np.int64) for class_id in class_ids}
    for column in np.unique(classes).tolist():
        chosen = np.flatnonzero(classes == column)
        chosen = chosen[np.argsort(rows[chosen])]
        lists[class_ids[column]] = rows[chosen][rank_within_class(scores[chosen], K)]
    return from_codes(lists, segments)


def _config(job: Job) -> BoostedConfig:
    assert isinstance(job.member.config, BoostedConfig)
    return job.member.config


def _base(job: Job, name: str) -> Base:
    """A base with the number of steps of its own best checkpoint on the holdout."""
    base = job.for_member(name)
    start = base.pretrained()
    pretrained = Checkpoints(start.artifact("checkpoint")) if start else None
    return Base(base.member, base.estimator, pretrained, base.chosen_steps())
