"""A generated world, written as YouTube-8M TFRecords: enough like the real one that every stage has work to do.

The world has topics and classes. A class is at home in one topic and strays into others, and topics and classes
differ in how often they occur. Some classes are mainly seen, some mainly heard, some both. Each has a few appearances,
which share half of what they look and sound like; classes of one topic resemble each other.

- A video is 40 to 120 frames long and has one topic, at times two, which give it its few classes.
- A class comes and goes: its events last about twenty frames, begin and end anywhere (seldom where a segment does),
  and swell and fade over several frames. Each event has one appearance.
- A frame has two views, `rgb` (96) and `audio` (48): the topic's scenery, the video's own look, the classes that are
  there as strongly as they are at that moment, a slow drift, and noise drawn anew for each frame and view.
- A video's labels are noisy: some classes that occur are missed, and at times one is added that does not.
- On part of the videos people rated some segments, for two at most of those of the video's labels that are scored. A
  class is in a segment where it is there for half of it or more; people err at times. First and last segments are not
  rated.

Labels tell what is in a video, and the scenery suggests it: that is what pre-training learns. Only ratings tell *when*:
that is what fine-tuning adds. A shifted window sees a frame more of the same event under other noise, and members
that weigh the views differently err differently: that is what merging and fusing add.

Everything follows from the seed: each video is drawn by a generator of its own.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from terminal.progress import Progress
from videos.sources.records import import_tensorflow
from videos.sources.yt8m import SEGMENT_FRAMES

VERSION = 1  # of the world below: a store made by another version is not the same

MODALITIES = {"rgb": 96, "audio": 48}
VIDEOS_PER_SHARD = 200
ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

TEST_SHARE = 0.1
RATED_SHARE = 0.4
SCORED_SHARE = 0.6
RATED_SEGMENTS = 5
KINDS = {"visible": (1.0, 0.2), "audible": (0.2, 1.0), "both": (0.7, 0.7)}  # how much of a class either view shows

MOST_RATED_CLASSES = 2
WRONG_RATINGS = 0.03
MISSED_LABELS = 0.1
ADDED_LABELS = 0.2

EVENT_FRAMES = 16.0  # beyond the shortest event of 4
APPEARANCES = 3
STRAY = 0.05  # how much a class occurs in a topic that is not its own, relative to its own
RESEMBLANCE = 0.3  # share of its topic in what a class looks like (of squared length)
VARIETY = 0.5  # share that the appearances of a class do not have in common

# Lengths of the parts of a frame's features; the noise, a standard deviation for each feature, is far longer.
EVENT = 1.0
SCENERY = 0.6
LOOK = 0.5
DRIFT = 0.2
NOISE = 0.75


@dataclass(frozen=True)
class SyntheticWorld:
    """What all videos share. T topics, C classes.

    `topics` (T,) is how often each occurs, `occurrence` (T, C) how often each class does in it; `scenery` (T, width)
    and `signatures` (C, APPEARANCES, width) by modality; `scored` are the rated classes and `names` the vocabulary.
    """

    seed: int
    topics: np.ndarray
    occurrence: np.ndarray
    scenery: dict[str, np.ndarray]
    signatures: dict[str, np.ndarray]
    scored: list[int]
    names: list[str]


@dataclass(frozen=True)
class Scene:
    """One video: uint8 features (frames, width) by modality, presence (frames, C) in 0..1, labels and ratings.

    `ratings` holds (start, class_id, relevance).
    """

    features: dict[str, np.ndarray]
    presence: np.ndarray
    labels: list[int]
    ratings: list[tuple[int, int, int]]


@dataclass(frozen=True)
class WrittenShards:
    """The files of a generated set, in the form in which YouTube-8M is published."""

    train: list[Path]
    test: list[Path]
    vocabulary: Path
    segment_classes: Path


def make_world(classes: int, seed: int) -> SyntheticWorld:
    """Draw the world of a seed; its classes are numbered at random with respect to how often they occur."""
    rng = np.random.default_rng([seed, 0])
    topics = max(2, classes // 5)
    home = rng.permutation(np.arange(classes) % topics)
    frequency = rng.permutation(1.0 / (np.arange(classes) + 4.0))
    occurrence = np.where(home == np.arange(topics)[:, None], 1.0, STRAY) * frequency
    kinds = rng.permutation(np.arange(classes) % len(KINDS))
    strength = np.array(list(KINDS.values()))[kinds]
    scenery, signatures = {}, {}
    for view, (name, width) in enumerate(MODALITIES.items()):
        shared = _directions(rng, topics, width)[home]
        own = _directions(rng, classes, width)
        variants = _directions(rng, classes * APPEARANCES, width).reshape(classes, APPEARANCES, width)
        mixed = np.sqrt(RESEMBLANCE) * shared + np.sqrt(1 - RESEMBLANCE) * own
        mixed = np.sqrt(1 - VARIETY) * mixed[:, None] + np.sqrt(VARIETY) * variants
        scenery[name] = SCENERY * _directions(rng, topics, width)
        signatures[name] = EVENT * strength[:, view, None, None] * mixed
    topic_weights = rng.dirichlet(np.full(topics, 5.0))
    scored = sorted(rng.choice(classes, max(1, round(SCORED_SHARE * classes)), replace=False).tolist())
    names = [f"{list(KINDS)[kind]} {number}" for number, kind in enumerate(kinds)]
    return SyntheticWorld(seed, topic_weights, _normalise(occurrence), scenery, signatures, scored, names)


def make_scene(world: SyntheticWorld, number: int, is_rated: bool) -> Scene:
    """Draw video `number` of the world."""
    rng = np.random.default_rng([world.seed, 1, number])
    frames = int(rng.integers(40, 121))
    topics = rng.choice(len(world.topics), 1 + int(rng.random() < 0.3), replace=False, p=world.topics)
    occurrence = world.occurrence[topics].mean(0)
    count = min(1 + rng.binomial(3, 0.5), len(occurrence))
    present = rng.choice(len(occurrence), count, replace=False, p=occurrence)
    strengths = np.stack([_events(rng, frames) for _ in present], axis=1)
    presence = np.zeros((frames, len(occurrence)))
    presence[:, present] = strengths.max(-1)
    features = {}
    for name in MODALITIES:
        events = strengths.reshape(frames, -1) @ world.signatures[name][present].reshape(-1, MODALITIES[name])
        features[name] = _view(rng, world.scenery[name][topics].mean(0), events)
    labels = _labels(rng, present, occurrence)
    ratings = _ratings(rng, presence, sorted({*labels} & {*world.scored})) if is_rated else []
    return Scene(features, presence, labels, ratings)


def _directions(rng: np.random.Generator, count: int, width: int) -> np.ndarray:
    """Random vectors of length 1, (count, width)."""
    vectors = rng.normal(size=(count, width))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _normalise(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum(-1, keepdims=True)


def _events(rng: np.random.Generator, frames: int) -> np.ndarray:
    """How strongly each appearance of a class is there in each frame, 0 to 1: (frames, APPEARANCES)."""
    time = np.arange(frames) + 0.5
    presence = np.zeros((frames, APPEARANCES))
    for _ in range(1 + rng.binomial(2, frames / 400)):
        duration = 4.0 + rng.gamma(4.0, EVENT_FRAMES / 4.0)
        onset = rng.uniform(-0.3 * duration, frames - 0.7 * duration)
        slope = rng.uniform(3.0, 9.0)  # frames from nothing to all
        inside = np.minimum(time - onset, onset + duration - time)  # frames to the nearer end, negative outside
        strengths = presence[:, rng.integers(APPEARANCES)]
        np.maximum(strengths, np.clip(inside / slope + 0.5, 0.0, 1.0), out=strengths)
    return presence


def _view(rng: np.random.Generator, scenery: np.ndarray, events: np.ndarray) -> np.ndarray:
    """One modality of a video, from its scenery (width,) and what its events show: uint8 (frames, width)."""
    frames, width = events.shape
    look = LOOK * _directions(rng, 1, width)
    walk = np.cumsum(rng.normal(size=(frames, 4)), axis=0) @ _directions(rng, 4, width)
    drift = DRIFT / np.sqrt(frames / 2) * walk
    noise = NOISE * rng.normal(size=(frames, width))
    return _quantise(scenery + look + events + drift + noise)


def _quantise(features: np.ndarray) -> np.ndarray:
    """YouTube-8M's 256 levels between -2 and 2, as uint8."""
    return np.clip(np.round((features + 2 - 4 / 512) * (255 / 4)), 0, 255).astype(np.uint8)


def _labels(rng: np.random.Generator, present: np.ndarray, occurrence: np.ndarray) -> list[int]:
    """The video's noisy labels, ascending; at least one."""
    labels = {int(class_id) for class_id in present if rng.random() >= MISSED_LABELS}
    if rng.random() < ADDED_LABELS or not labels:
        labels.add(int(rng.choice(len(occurrence), p=occurrence)))
    return sorted(labels)


def _ratings(rng: np.random.Generator, presence: np.ndarray, classes: list[int]) -> list[tuple[int, int, int]]:
    """Ratings of a few segments, none of them the first or the last, for each of `classes`."""
    starts = np.arange(1, len(presence) // SEGMENT_FRAMES - 1) * SEGMENT_FRAMES
    starts = np.sort(rng.choice(starts, RATED_SEGMENTS, replace=False))
    ratings = []
    for class_id in rng.permutation(classes)[:MOST_RATED_CLASSES].tolist():
        for start in starts:
            is_there = presence[start : start + SEGMENT_FRAMES, class_id].mean() >= 0.5
            is_wrong = rng.random() < WRONG_RATINGS
            ratings.append((int(start), class_id, int(is_there != is_wrong)))
    return ratings


# ---- files


def write_shards(folder: Path, videos: int, classes: int, seed: int) -> WrittenShards:
    """Write a world's videos as TFRecord shards, with `vocabulary.csv` and `segment_classes.csv` beside them.

    The first videos are the test partition; rated ones lie among the others.
    """
    if videos < 20 or classes < 5:
        raise ValueError(f"{videos} videos of {classes} classes are too few; give at least 20 videos and 5 classes")
    tensorflow = import_tensorflow()
    folder.mkdir()
    world = make_world(classes, seed)
    rng = np.random.default_rng([seed, 2])
    ids = rng.choice(len(ALPHABET) ** 4, videos, replace=False)
    is_rated = rng.random(videos) < RATED_SHARE
    tests = round(TEST_SHARE * videos)
    partitions: dict[str, list[Path]] = {"test": [], "train": []}
    batches = [("test", numbers) for numbers in _batches(0, tests)]
    batches += [("train", numbers) for numbers in _batches(tests, videos)]
    with Progress("generating videos", videos) as progress:
        for partition, numbers in batches:
            path = folder / f"{partition}{len(partitions[partition]):04d}.tfrecord"
            with tensorflow.io.TFRecordWriter(str(path)) as writer:
                for number in numbers:
                    scene = make_scene(world, number, partition == "train" and bool(is_rated[number]))
                    writer.write(encode(_name(int(ids[number])), scene))
            partitions[partition].append(path)
            progress.advance(len(numbers))
    vocabulary, segment_classes = folder / "vocabulary.csv", folder / "segment_classes.csv"
    vocabulary.write_text("Index,Name\n" + "".join(f"{number},{name}\n" for number, name in enumerate(world.names)))
    segment_classes.write_text("Index\n" + "".join(f"{class_id}\n" for class_id in world.scored))
    return WrittenShards(partitions["train"], partitions["test"], vocabulary, segment_classes)


def encode(video_id: str, scene: Scene) -> bytes:
    """A scene as YouTube-8M's frame-level record."""
    train = import_tensorflow().train

    def integers(values: list[int]):
        return train.Feature(int64_list=train.Int64List(value=values))

    context = {
        "id": train.Feature(bytes_list=train.BytesList(value=[video_id.encode()])),
        "labels": integers(scene.labels),
    }
    if scene.ratings:
        starts, classes, scores = (list(column) for column in zip(*scene.ratings, strict=True))
        context |= {
            "segment_start_times": integers(starts),
            "segment_end_times": integers([start + SEGMENT_FRAMES for start in starts]),
            "segment_labels": integers(classes),
            "segment_scores": train.Feature(float_list=train.FloatList(value=scores)),
        }
    lists = {
        name: train.FeatureList(
            feature=[train.Feature(bytes_list=train.BytesList(value=[frame.tobytes()])) for frame in frames]
        )
        for name, frames in scene.features.items()
    }
    example = train.SequenceExample(
        context=train.Features(feature=context), feature_lists=train.FeatureLists(feature_list=lists)
    )
    # Maps have no order of their own; the same video is to give the same bytes.
    return example.SerializeToString(deterministic=True)


def _batches(first: int, last: int) -> list[range]:
    return [range(start, min(start + VIDEOS_PER_SHARD, last)) for start in range(first, last, VIDEOS_PER_SHARD)]


def _name(number: int) -> str:
    """A four-character id, as YouTube-8M's."""
    digits = []
    for _ in range(4):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(digits)
