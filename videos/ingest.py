"""The three commands that make a frame store: from YouTube-8M, AudioSet, and generated videos (`docs/data.md`)."""

import functools
import glob
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import polars as pl
from tyro.conf import arg

from terminal.cli import counted
from videos.dataset import CLASS_NAMES, SPLITS, Dataset, Edge, read_videos
from videos.segments import rankable, segment_ids, segments_of
from videos.sources import audioset, synthetic, yt8m
from videos.sources.shards import Shard, list_shards, read_shards
from videos.sources.tables import read_class_list, read_vocabulary
from videos.splits import HOLDOUT_PERCENT, split_of
from videos.store import open_frames
from videos.store_writing import Ingest, is_complete, new_store, read_ingest, write_index

log = logging.getLogger(__name__)

RULES = 2  # of reading YouTube-8M's records; raised when the same shards would make another store
IS_RATED = pl.col("ratings").list.len() > 0

Patterns = Annotated[tuple[str, ...], arg(metavar="PATTERN...", help_behavior_hint="(required)")]
MorePatterns = Annotated[tuple[str, ...], arg(metavar="PATTERN...", help_behavior_hint="")]
Folder = Annotated[Path, arg(metavar="DIR", help_behavior_hint="(required)")]
Table = Annotated[Path | None, arg(metavar="CSV", help_behavior_hint="")]
Jobs = Annotated[int | None, arg(metavar="N", help_behavior_hint="")]
Count = Annotated[int, arg(metavar="N")]
Percent = Annotated[int, arg(metavar="PERCENT")]


@dataclass(frozen=True)
class Ingested:
    """A complete frame store and its contents. `is_new` is False if it was complete before."""

    folder: Path
    dataset: Dataset
    videos: dict[str, int]  # by split
    frames: int
    judgments: int
    note: Ingest
    is_new: bool


def ingest_yt8m(
    shards: Patterns,
    out: Folder,
    test_shards: MorePatterns = (),
    vocabulary: Table = None,
    segment_classes: Table = None,
    modalities: dict[str, Count] = yt8m.MODALITIES,
    edge: Edge = "roll",
    skip_bad: bool = False,
    force: bool = False,
    jobs: Jobs = None,
) -> Ingested:
    """Make a frame store from YouTube-8M TFRecords, frame level or video level.

    A video in several records counts once, by a record of a test shard if there is one, otherwise by a rated one. An
    ingest that was interrupted or killed resumes at the first unfinished shard when it is typed again.

    Args:
        shards: Patterns of the shards to learn from, such as 'yt8m/*/train*.tfrecord'.
        out: Folder of the frame store.
        test_shards: Patterns of the shards of the test partition.
        vocabulary: CSV with the columns Index and Name of all classes. Default: 3,862 classes without names.
        segment_classes: CSV with the column Index of the scored classes. Default: those with ratings.
        modalities: Width of each feature list, in the order of a frame's row.
        edge: The frames of a window shifted beyond a video's end: roll over the 300 padded rows, as in the original, or
            clamp to the first or last frame.
        skip_bad: Leave out bad records and the rest of damaged shards instead of stopping at the first.
        force: Replace another frame store in the folder; it is removed once the first shard is read.
        jobs: Number of processes. Default: one per core, fewer if there is little to read.
    """
    if not shards:
        raise ValueError("--shards names no pattern; give at least one")
    train, test = _find(shards), _find(test_shards)
    inputs = {
        "source": "yt8m",
        "shards": [_identity(path) for path in train],
        "test_shards": [_identity(path) for path in test],
        "vocabulary": vocabulary and _identity(vocabulary),
        "segment_classes": segment_classes and _identity(segment_classes),
        "modalities": modalities,
        "edge": edge,
        "rules": RULES,
    }
    if is_complete(out, inputs, force):
        return _report(out, is_new=False)
    dataset, scored = _describe("yt8m", modalities, vocabulary, segment_classes, edge, yt8m.UNRATED_ENDS)
    with new_store(out) as building:
        _read_yt8m(building, dataset, scored, list_shards(train, test), inputs, skip_bad, jobs)
    return _report(out, is_new=True)


def ingest_audioset(
    features: Folder,
    strong: Folder,
    out: Folder,
    skip_bad: bool = False,
    force: bool = False,
    jobs: Jobs = None,
) -> Ingested:
    """Make a frame store from AudioSet features, judged by the time-stamped events of DESED and DCASE 2017.

    Clips without annotation are for pre-training; the files of events set the split of the others.

    Args:
        features: Folder of the shards (*.tfrecord) and of class_labels_indices.csv.
        strong: Folder of classes.csv, the events of each source and test_clips.tsv.
        out: Folder of the frame store.
        skip_bad: Leave out bad records and the rest of damaged shards instead of stopping at the first.
        force: Replace another frame store in the folder; it is removed once the first shard is read.
        jobs: Number of processes. Default: one per core, fewer if there is little to read.
    """
    paths = _find((str(features / "*.tfrecord"),))
    names = features / "class_labels_indices.csv"
    inputs = {
        "source": "audioset",
        "shards": [_identity(path) for path in paths],
        "strong": [_identity(path) for path in sorted(strong.glob("*.[ct]sv"))],
        "vocabulary": _identity(names),
    }
    if is_complete(out, inputs, force):
        return _report(out, is_new=False)
    vocabulary = read_vocabulary(names, "index", ["display_name"])
    labels = audioset.read_strong_labels(strong, len(vocabulary))
    dataset = Dataset(
        name="audioset",
        modalities=audioset.MODALITIES,
        dtype="uint8",
        segment_frames=audioset.SEGMENT_FRAMES,
        partial_segments=False,
        max_frames=audioset.MAX_FRAMES,
        edge="clamp",
        vocabulary=vocabulary,
        scored_classes=labels.classes,
        digest="",
    )
    with new_store(out) as building:
        reader = audioset.AudioSetReader(dataset.classes)
        index = read_shards(list_shards(paths), building, reader, skip_bad, jobs)
        split = {video_id: clip.split for video_id, clip in labels.clips.items()}
        videos = _keep_once(index.videos).with_columns(
            split=pl.col("video_id").replace_strict(split, default="pretrain", return_dtype=pl.String)
        )
        if absent := len(split) - len(videos.filter(pl.col("split") != "pretrain")):
            log.warning("left out %s without features", counted(absent, "annotated clip"))
        judgments = audioset.judge(labels.clips, segments_of(videos, dataset))
        write_index(building, dataset, videos, judgments, index.ingest(inputs))
    return _report(out, is_new=True)


def ingest_synthetic(
    out: Folder,
    videos: Count = 3000,
    classes: Count = synthetic.CLASSES,
    seed: Count = 0,
    holdout: Percent = synthetic.HOLDOUT_PERCENT,
    force: bool = False,
    jobs: Jobs = None,
) -> Ingested:
    """Generate videos, write them as YouTube-8M TFRecords, and make a frame store from those, which keeps them.

    Args:
        out: Folder of the frame store.
        videos: Number of videos, a tenth of them for test.
        classes: Number of classes, three in five of them scored.
        seed: Seed of the random generators.
        holdout: Percentage of the rated videos that is held out, 1 to 99.
        force: Replace another frame store in the folder; it is removed once the first shard is read.
        jobs: Number of processes. Default: one per core, fewer if there is little to read.
    """
    if not 1 <= holdout <= 99:
        raise ValueError(f"--holdout is {holdout}; give a percentage from 1 to 99")
    inputs = {"source": "synthetic", "world": synthetic.VERSION, "videos": videos, "classes": classes, "seed": seed}
    inputs |= {"holdout": holdout, "rules": RULES}
    if is_complete(out, inputs, force):
        return _report(out, is_new=False)
    with new_store(out) as building:
        folder = building / "shards"
        synthetic.write_shards(folder, videos, classes, seed)
        tables = folder / "vocabulary.csv", folder / "segment_classes.csv"
        dataset, scored = _describe("synthetic", synthetic.MODALITIES, *tables, "roll", synthetic.UNRATED_ENDS)
        shards = list_shards(*(sorted(folder.glob(f"{name}*.tfrecord")) for name in ("train", "test")))
        _read_yt8m(building, dataset, scored, shards, inputs, False, jobs, holdout)
    return _report(out, is_new=True)


def tracked(ingest: Callable[..., Ingested]) -> Callable[..., None]:
    """The ingest as a command that also logs the frame store as a run of the dataset's experiment."""

    @functools.wraps(ingest)
    def command(*args: object, **options: object) -> None:
        from tracking import runs
        from tracking.writing import open_run

        ingested = ingest(*args, **options)
        dataset = ingested.dataset
        tags = {
            runs.DATASET: dataset.name,
            runs.STAGE: "ingest",
            runs.KIND: "dataset",
            runs.DATA_DIGEST: dataset.digest,
        }
        logged = runs.find_runs(dataset.name, True, **tags)
        if not ingested.is_new and any(run.has_artifact(CLASS_NAMES) for run in logged):  # older runs lack them
            return
        with open_run(dataset.name, "ingest", tags) as run:
            run.params(
                {"folder": ingested.folder, "modalities": json.dumps(dataset.modalities), "classes": dataset.classes}
            )
            run.params({"scored_classes": len(dataset.scored_classes), "segment_frames": dataset.segment_frames})
            run.metrics({f"videos/{split}": count for split, count in ingested.videos.items()})
            note = ingested.note
            run.metrics({"frames": ingested.frames, "judgments": ingested.judgments, "skipped": note.skipped})
            run.metrics({"damaged_shards": note.damaged, "late_ratings": note.late_ratings})
            run.metrics({"padded_videos": note.padded_videos})
            table = read_videos(ingested.folder).select("video_id", "split", "frames")
            run.dataset(dataset.name, dataset.digest, table, "ingest")
            run.text(json.dumps(dataset.vocabulary, indent=1, ensure_ascii=False), CLASS_NAMES)

    command.__annotations__ = {**ingest.__annotations__, "return": None}
    return command


# ---- YouTube-8M's format


def _describe(
    name: str,
    modalities: dict[str, int],
    vocabulary: Path | None,
    segment_classes: Path | None,
    edge: Edge,
    unrated_ends: tuple[int, int],
) -> tuple[Dataset, list[int] | None]:
    """The dataset without what only the shards contain, and its scored classes (None: those with ratings)."""
    names = (
        [str(class_id) for class_id in range(yt8m.CLASSES)]
        if vocabulary is None
        else read_vocabulary(vocabulary, "Index", ["Name", "KnowledgeGraphId"])
    )
    dataset = Dataset(
        name=name,
        modalities=modalities,
        dtype="uint8",
        segment_frames=yt8m.SEGMENT_FRAMES,
        partial_segments=True,
        max_frames=yt8m.MAX_FRAMES,
        edge=edge,
        vocabulary=names,
        scored_classes=[],
        digest="",
        unrated_ends=unrated_ends,
    )
    return dataset, segment_classes and read_class_list(segment_classes, dataset.classes)


def _read_yt8m(
    building: Path,
    dataset: Dataset,
    scored: list[int] | None,
    shards: list[Shard],
    inputs: dict[str, object],
    skip_bad: bool,
    jobs: int | None,
    holdout: int = HOLDOUT_PERCENT,
) -> None:
    reader = yt8m.YouTube8MReader(
        yt8m.find_level(shards), dataset.modalities, dataset.classes, None if scored is None else frozenset(scored)
    )
    index = read_shards(shards, building, reader, skip_bad, jobs)
    videos = _keep_once(index.videos)
    split = [split_of(*row, percent=holdout) for row in videos.select("video_id", IS_RATED, "test").iter_rows()]
    videos = videos.with_columns(split=pl.Series(split, dtype=pl.String))
    rated = videos.filter(pl.col("split") != "test", IS_RATED)  # ratings of test videos must not be used
    judgments = rated.select("video_id", "ratings").explode("ratings").unnest("ratings")
    judgments = judgments.with_columns(segment_id=segment_ids())
    if scored is None:
        scored = judgments["class_id"].unique().sort().to_list()
    dataset = replace(dataset, dtype=reader.dtype, scored_classes=scored)
    ranked = segments_of(rated, dataset).filter(rankable(dataset))
    if judgments.is_empty() or not judgments["segment_id"].is_in(ranked["segment_id"].implode()).all():
        log.info("the first and last segments of videos are ranked too: some of them are rated, or nothing is")
        dataset = replace(dataset, unrated_ends=(0, 0))
    write_index(building, dataset, videos, judgments, index.ingest(inputs))


def _keep_once(videos: pl.DataFrame) -> pl.DataFrame:
    """One record per video: one of a test shard before a rated one before the first in order."""
    if videos.is_empty():
        raise ValueError("no record could be read; fetch the shards again")
    once = videos.sort("test", IS_RATED, descending=True, maintain_order=True)
    once = once.unique("video_id", keep="first", maintain_order=True)
    if repeated := len(videos) - len(once):
        log.info("left out %s of videos that have another record; each video counts once", counted(repeated, "record"))
    return once


# ---- files


def _find(patterns: tuple[str, ...]) -> list[Path]:
    """The files that match any of the patterns, sorted by path; ValueError if a pattern matches none."""
    paths: set[Path] = set()
    for pattern in patterns:
        matches = {Path(path).resolve() for path in glob.glob(pattern, recursive=True) if Path(path).is_file()}
        if not matches:
            raise ValueError(f"no shard matches {pattern!r}; check the path, and quote the pattern")
        paths |= matches
    return sorted(paths)


def _identity(path: Path) -> list[object]:
    """Path, size in bytes and time of the last change: equal if the file is unchanged."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; check the path") from None
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


def _report(out: Path, is_new: bool) -> Ingested:
    """Count and log the contents of a complete store."""
    store = open_frames(out)
    counts = dict(store.videos.group_by("split").len().iter_rows())
    note = read_ingest(out)
    ingested = Ingested(
        folder=out,
        dataset=store.dataset,
        videos={split: counts.get(split, 0) for split in SPLITS},
        frames=int(store.videos["frames"].cast(pl.Int64).sum()),
        judgments=len(store.judgments),
        note=note,
        is_new=is_new,
    )
    parts = [counted(ingested.frames, "frame"), counted(ingested.judgments, "judgment")]
    faults = (
        (note.skipped, "bad record", "skipped"),
        (note.damaged, "damaged shard", "cut off"),
        (note.late_ratings, "rating", "beyond a video's end left out"),
        (note.padded_videos, "video", "with modalities of different length padded with zeros"),
    )
    parts += [f"{counted(number, noun)} {what}" for number, noun, what in faults if number]
    log.info(
        "%s %s: %s; %s%s",
        out,
        "is ready" if is_new else "is complete already",
        ", ".join(f"{count} {split}" for split, count in ingested.videos.items()),
        ", ".join(parts),
        "" if store.dataset.scored_classes else "; no class is scored; give --segment-classes to rank predictions",
    )
    return ingested
