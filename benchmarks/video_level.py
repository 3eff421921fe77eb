"""`python -m benchmarks.video_level SHARDS`: pre-training on real YouTube-8M video-level shards.

SHARDS is a folder of shards as YouTube-8M publishes them (`validate0000.tfrecord`, ...). A record is a video's mean
frame and its labels: a video of one frame, with one segment. Videos are held out by their id, and judged on every class
that one of them has. Three models learn the labels of the others: a mixture of experts, a network with a hidden layer,
and trees on the labels of the nearest neighbours. Each model and seed is a tracked run of the experiment
yt8m-video-level; what is done already is not repeated.
"""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from statistics import mean
from typing import Annotated, ClassVar

import numpy as np
import polars as pl
from torch import Tensor, nn
from tyro.conf import Positional, arg

from benchmarks.neighbours import Neighbours, scores
from benchmarks.scoring import RESULTS, commit
from scoring.lists.ranking import rank_scores
from scoring.measures.average_precision import ranks_of_blocks
from scoring.measures.bootstrap import Bootstrap, ResampledMap, mean_over
from scoring.measures.global_average_precision import global_average_precision, pooled
from tracking import metrics, runs
from tracking.stage import digest
from tracking.writing import open_parent
from training import stages
from training.boosted.booster import BoostedEstimator
from training.fit.checkpoints import Checkpoints
from training.fit.kinds import parameters_of
from training.job import Job, checkpoint_folder
from training.limits import Count, Share
from training.member import Member, Schedule
from training.models.architecture import TorchArchitecture
from training.models.boosted import BoostedConfig
from training.models.layers.heads import Logistic, MixtureOfExperts
from training.models.layers.normalisation import BatchNorm, l2_normalise
from training.models.window_model import WindowModel
from training.windows.clips import Clips
from training.windows.segments import SegmentWindows
from videos.ingest import ingest_yt8m
from videos.judgments import Judgments
from videos.segments import segment_ids, segments_of
from videos.splits import is_held_out
from videos.store import FrameStore, open_frames

log = logging.getLogger(__name__)

EXPERIMENT = "yt8m-video-level"
TARGET = RESULTS / "video_level.md"
HOLDOUT_PERCENT = 20  # 8 as elsewhere would leave fewer than 500 videos
PRIOR = -6.0  # the first logit of every class: a video has 3 of 3,862


@dataclass(frozen=True)
class MixtureConfig(TorchArchitecture):
    experts: Count = 2

    def build(self, widths: Mapping[str, int], classes: int, window: int) -> "MeanFrame":
        head = MixtureOfExperts(sum(widths.values()), classes, self.experts)
        nn.init.constant_(head.experts.bias, PRIOR)
        return MeanFrame(nn.Identity(), head)


@dataclass(frozen=True)
class PerceptronConfig(TorchArchitecture):
    hidden: Count = 512
    dropout: Share = 0.5
    decay: Share = 0.9  # of the moving averages of batch normalisation
    has_batch_norm: ClassVar[bool] = True

    def build(self, widths: Mapping[str, int], classes: int, window: int) -> "MeanFrame":
        head = Logistic(self.hidden, classes, l2=1e-8)
        nn.init.constant_(head.linear.bias, PRIOR)
        norm = BatchNorm(self.hidden)
        norm.momentum = 1 - self.decay
        hidden = nn.Sequential(nn.Linear(sum(widths.values()), self.hidden), norm, nn.ReLU(), nn.Dropout(self.dropout))
        return MeanFrame(hidden, nn.Sequential(head, nn.Sigmoid()))


class MeanFrame(WindowModel):
    """A head on the mean frame, after a hidden layer if there is one."""

    def __init__(self, hidden: nn.Module, head: nn.Module):
        super().__init__()
        self.hidden, self.head = hidden, head

    def encode_frames(self, frames: Tensor, frame_weights: Tensor | None = None) -> tuple[Tensor, ...]:
        return (l2_normalise(frames),)

    def score_windows(self, encoded: tuple[Tensor, ...], frame_weights: Tensor | None = None) -> Tensor:
        return self.head(self.hidden(encoded[0].mean(1)))


# Rates and steps follow a few trials on a fifth of the training videos, not on the holdout.
MIXTURE = Member(
    "mixture-of-experts", MixtureConfig(), (0,), pretrain=Schedule(steps=90, evaluate_every=90, learning_rate=1e-2)
)
PERCEPTRON = Member(
    "perceptron", PerceptronConfig(), (0,), pretrain=Schedule(steps=120, evaluate_every=120, learning_rate=3e-3)
)
TREES = Member(
    "boosted-neighbours",
    BoostedConfig(bases=("neighbours",), rounds=100, block=25, learning_rate=0.08, leaves=31, min_data=50),
    (0,),
    pretrain=None,
)
MEMBERS = (MIXTURE, PERCEPTRON, TREES)
AVERAGE = "mean of all"


def run(
    shards: Positional[Annotated[Path, arg(metavar="SHARDS")]],
    seeds: Annotated[int, arg(metavar="N")] = 3,
    out: Annotated[Path, arg(metavar="DIR")] = Path("data/yt8m-video-level"),
    target: Annotated[Path, arg(metavar="FILE")] = TARGET,
) -> None:
    """Train the three models with seeds 0 .. N-1, print MAP and GAP@20 on the held-out videos, and write the report.

    Args:
        shards: Folder of the video-level shards (*.tfrecord).
        seeds: Number of seeds.
        out: Folder of the frame store.
        target: The report.
    """
    if seeds < 1:
        raise SystemExit(f"--seeds is {seeds}; give at least 1")
    measured = commit()
    ingest_yt8m((str(shards / "*.tfrecord"),), out)
    store = of_whole_videos(open_frames(out))
    holdout = Holdout(store)
    measures: dict[str, list[Measures]] = {name: [] for name in (*(member.name for member in MEMBERS), AVERAGE)}
    seconds: dict[str, list[float]] = {member.name: [] for member in MEMBERS}
    for seed in range(seeds):
        predictions = []
        for member in MEMBERS:
            job = Job(lineup=f"video-level-seed{seed}", member=replace(member, seed=seed), store=store)
            record, predicted = trees(job, holdout) if isinstance(member.config, BoostedConfig) else network(job)
            predictions.append(predicted)
            measures[member.name].append(holdout.measure(predicted))
            seconds[member.name].append(record.metrics[metrics.SECONDS])
            log_measures(job, measures[member.name][-1])
        # As a probability, the score of a pair that is no candidate of the trees is 0.
        measures[AVERAGE].append(holdout.measure(np.mean(np.clip(predictions, 0, 1), axis=0)))
    sizes = {member.name: (size_of(member, store), mean(seconds[member.name])) for member in MEMBERS}
    sizes[AVERAGE] = ("all", sum(took for _, took in sizes.values()))
    text = "\n".join(report(store, measures, sizes, measured))
    target.write_text(text)
    print(text)


def size_of(member: Member, store: FrameStore) -> str:
    data = store.dataset
    size = parameters_of(member, modalities=data.modalities, classes=data.classes, segment_frames=data.segment_frames)
    if size is not None:
        return f"{size:,} parameters"
    assert isinstance(member.config, BoostedConfig)
    return f"{member.config.rounds} trees of {member.config.leaves} leaves"


def of_whole_videos(store: FrameStore) -> FrameStore:
    """A store of video-level records as a dataset of one segment per video, of which `HOLDOUT_PERCENT` % are held out.

    Every held-out video is judged on every class that one of them has.
    """
    held = pl.Series([is_held_out(video_id, HOLDOUT_PERCENT) for video_id in store.videos["video_id"]])
    videos = store.videos.with_columns(split=pl.when(held).then(pl.lit("holdout")).otherwise(pl.lit("pretrain")))
    holdout = videos.filter(held).select("video_id", "classes", start=pl.lit(0))
    scored = holdout["classes"].explode().unique().sort()
    judgments = holdout.join(pl.DataFrame({"class_id": scored}), how="cross").select(
        "class_id",
        segment_id=segment_ids(),
        relevance=pl.col("classes").list.contains(pl.col("class_id")).cast(pl.Int16),
    )
    dataset = replace(
        store.dataset,
        name=EXPERIMENT,
        segment_frames=1,
        max_frames=1,
        scored_classes=scored.to_list(),
        digest=digest(store.dataset.digest, HOLDOUT_PERCENT),
    )
    return replace(store, dataset=dataset, videos=videos, judgments=judgments)


def vectors_of(store: FrameStore, videos: pl.DataFrame) -> np.ndarray:
    """The mean frames (V, D) of `videos`."""
    rows = np.arange(len(videos))
    return Clips(store, videos).gather(rows, np.zeros((len(rows), 1), dtype=np.int64)).features()[:, 0]


def labels_of(store: FrameStore, videos: pl.DataFrame) -> np.ndarray:
    """The labels (V, C) of `videos`."""
    labels = np.zeros((len(videos), store.dataset.classes), dtype=bool)
    for row, classes in zip(labels, videos["classes"].to_list(), strict=True):
        row[classes] = True
    return labels


@dataclass(frozen=True)
class Measures:
    """MAP and GAP@20 on the held-out videos and on the same resamples of them."""

    map: ResampledMap
    gap: ResampledMap


class Holdout:
    """The held-out videos of a store, sorted by id."""

    def __init__(self, store: FrameStore):
        self.videos = store.split("holdout").sort("video_id")
        self._segments = segments_of(self.videos, store.dataset)["segment_id"]
        self._ids, self._labels = self.videos["video_id"], labels_of(store, self.videos)
        self.judgments = Judgments(store.judgments)
        self._scored = store.dataset.scored_classes
        self._bootstrap = Bootstrap(self.judgments)

    def gap(self, scores: np.ndarray) -> float:
        return global_average_precision(scores, self._labels, self._ids)

    def measure(self, scores: np.ndarray) -> Measures:
        """The measures of scores (V, C), rows in the order of the segments."""
        ranked = rank_scores(scores[:, self._scored], self._scored, self._segments)
        pool = pooled(scores, self._labels, self._ids)
        return Measures(
            self._bootstrap.measure(*ranks_of_blocks([ranked], self.judgments)),
            Bootstrap(pool.judgments).measure(pool.ranks, pool.present),
        )


def network(job: Job) -> tuple[runs.Record, np.ndarray]:
    """The pretrain run of a network, and its scores (V, C) of the held-out videos."""
    record, store = stages.pretrain(job), job.store
    estimator = job.estimator()
    estimator.restore(*Checkpoints(record.artifact("checkpoint")).read("last", job.member.name))
    predictor = estimator.predictor(np.arange(store.dataset.classes))
    windows = SegmentWindows(store, segments_of(store.split("holdout"), store.dataset), job.member.sampler)
    return record, np.concatenate([predictor(block) for block in windows.blocks(0)])


def trees(job: Job, holdout: Holdout) -> tuple[runs.Record, np.ndarray]:
    """The run of the booster, and its scores (V, C) of the held-out videos."""
    store, config = job.store, job.member.config
    assert isinstance(config, BoostedConfig)
    videos = store.split("pretrain")
    labels = labels_of(store, videos)
    neighbours = Neighbours(vectors_of(store, videos), labels, store.dataset.modalities)
    unseen = neighbours.candidates(vectors_of(store, holdout.videos))
    stage = job.stage("pretrain")
    folder = checkpoint_folder(stage, force=False)

    def work() -> runs.Record:
        known = neighbours.candidates()
        with stage.open() as opened:
            run = opened.run
            run.params({**asdict(config), "seed": job.member.seed, "pairs": len(known.rows)})
            run.dataset(EXPERIMENT, store.dataset.digest, store.videos.select("video_id", "split"), "pretrain")
            booster = _booster(config, neighbours, folder, job.member.seed)

            def point() -> None:  # logs the curve; as None is returned, the last block is used and not the best
                predicted = scores(unseen, booster.predict(unseen.features, booster.rounds))
                run.metrics({metrics.GAP: holdout.gap(predicted)}, booster.rounds)

            positive = labels[known.rows, known.classes].astype(np.float32)
            booster.fit(known.features, positive, point, run.metrics)
            run.artifact(folder, "checkpoint")
            run.metrics({metrics.SECONDS: opened.seconds})
        shutil.rmtree(folder, ignore_errors=True)
        return opened.record()

    record = stage.run_once(False, work)
    booster = _booster(config, neighbours, record.artifact("checkpoint"), job.member.seed)
    return record, scores(unseen, booster.predict(unseen.features))


def _booster(config: BoostedConfig, neighbours: Neighbours, folder: Path, seed: int) -> BoostedEstimator:
    """With the class, which GAP needs: it ranks the pairs of all classes in one list."""
    names = neighbours.names()
    return BoostedEstimator(config, names, folder, seed, categorical=names[:1])


def log_measures(job: Job, measures: Measures) -> None:
    """Log the measures on the held-out videos to the member's run."""
    values: dict[str, float] = {}
    for subject, measured in ((metrics.map_of, measures.map), (metrics.gap_of, measures.gap)):
        name = subject(metrics.PRETRAINED)
        values |= dict(zip((name, f"{name}_low", f"{name}_high"), (measured.map, *measured.interval), strict=True))
    with open_parent(EXPERIMENT, job.member.name, {**job.identity(), runs.KIND: "member"}) as parent:
        parent.metrics(values)


def report(
    store: FrameStore,
    measured: Mapping[str, Sequence[Measures]],
    sizes: Mapping[str, tuple[str, float]],
    commit: str,
) -> list[str]:
    """The lines of the report; `sizes` has each model's size in words and its seconds."""
    counts = dict(store.videos.group_by("split").len().iter_rows())
    seeds = len(next(iter(measured.values())))
    means = {
        name: Measures(mean_over([one.map for one in seeds]), mean_over([one.gap for one in seeds]))
        for name, seeds in measured.items()
    }
    lines = [
        "# Pre-training on real YouTube-8M video-level shards",
        "",
        f"`python -m benchmarks.video_level SHARDS --seeds {seeds}` at commit {commit}, {date.today()}.",
        f"{len(store.videos):,} videos (mean_rgb and mean_audio), {store.dataset.classes:,} classes. Split by video id",
        f"(`videos/splits.py`, {HOLDOUT_PERCENT} %): {counts['pretrain']:,} to learn from, "
        f"{counts['holdout']:,} held out.",
        f"MAP is over the {len(store.dataset.scored_classes):,} classes with a held-out positive, GAP@20 over all.",
        "Mean and range of the seeds; 95 % intervals of the mean by bootstrap over the held-out videos.",
        "Seconds are the wall clock of a seed's training on the processor, with whatever else the machine does.",
        "",
        "These videos are a thousandth of YouTube-8M: most classes have fewer than ten examples, and many held-out",
        "classes none. The figures compare the models.",
        "",
        "| model | size | MAP | interval | seeds | GAP@20 | interval | seeds | seconds |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, seeds in measured.items():
        size, seconds = sizes[name]
        cells = [name, size]
        for average, each in (
            (means[name].map, [one.map.map for one in seeds]),
            (means[name].gap, [one.gap.map for one in seeds]),
        ):
            low, high = average.interval
            cells += [f"{average.map:.4f}", f"{low:.4f} to {high:.4f}", f"{min(each):.4f} to {max(each):.4f}"]
        lines.append(f"| {' | '.join(cells)} | {seconds:.0f} |")
    lines += [
        "",
        "Differences of the means over seeds, paired by video (95 %, jackknife):",
        "",
        "| | MAP | interval | GAP@20 | interval |",
        "|---|--:|--:|--:|--:|",
    ]
    names = list(measured)
    for i, better in enumerate(names):
        for worse in names[:i]:
            cells = [f"{better} over {worse}"]
            for difference in (means[better].map.over(means[worse].map), means[better].gap.over(means[worse].gap)):
                cells += [f"{difference.map:+z.4f}", f"{difference.low:+z.4f} to {difference.high:+z.4f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


if __name__ == "__main__":
    import tyro

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    tyro.cli(run, prog="python -m benchmarks.video_level")
