"""Generated videos, written as YouTube-8M TFRecords: a world in which every stage improves the result.

There are topics and classes. Each class belongs to one topic and occurs less often in others; topics and classes have
different frequencies. Some classes are mainly visual, some mainly audible, some both. Each class has a few appearances,
whose signatures share half of their squared length; classes of one topic have similar signatures.

- A video has 40 to 120 frames and one or two topics, from which its classes are drawn.
- Each class has events of about 28 frames, which start and end anywhere and rise and fall over several frames.
  An event has one appearance.
- A frame has two modalities, `rgb` (96) and `audio` (48): the sum of the topic's scenery, the video's own offset, the
  signatures of the present classes times their strength, a slow drift, and noise.
- Labels are noisy: some classes that occur are missing, and sometimes one that does not occur is added.
- Some videos have ratings of a few segments (never the first or last) for at most two of their scored labels. A class
  is relevant if its mean presence in the segment is at least one half; some ratings are wrong.

What makes each stage worth its time:

- Pre-training: every video has labels, few have ratings, and labels and scenery identify a video's classes.
- Fine-tuning: only ratings tell when in a video a class occurs.
- Shifts: the noise of each frame is independent and larger than a signature, and an event is several times as long as
  a segment. A shifted window shows the same event with other noise, so that a wider look averages more of it.
- Fusion: few ratings leave each member errors of its own, classes differ in the modality that shows them, and the
  boosted member also sees the neighbouring segments.
- Weights: members differ in quality, and one that sees more of a video deserves more weight than the others.

`tests/videos/sources/test_synthetic.py` measures the last four with linear observers in several worlds,
`python -m benchmarks.demo` with the line-up `demo`.

Everything follows from the seed: each video has a random generator of its own.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from terminal.progress import Progress
from videos.sources.records import import_tensorflow
from videos.sources.yt8m import SEGMENT_FRAMES

VERSION = 2  # raised when the generated videos change, so that older stores are not taken for the same

MODALITIES = {"rgb": 96, "audio": 48}
VIDEOS_PER_SHARD = 200
CLASSES = 25
HOLDOUT_PERCENT = 40  # of the rated videos: 8 % of a small world would tell nothing apart
ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

TEST_SHARE = 0.1
RATED_SHARE = 0.45
SCORED_SHARE = 0.6
RATED_SEGMENTS = 5
UNRATED_ENDS = (1, 1)  # segments at the start and the end of a video
KINDS = {"visible": (1.0, 0.2), "audible": (0.2, 1.0), "both": (0.7, 0.7)}  # strength of a class in rgb and in audio

MOST_RATED_CLASSES = 2
WRONG_RATINGS = 0.03
MISSED_LABELS = 0.1
ADDED_LABELS = 0.2

EVENT_FRAMES = 24.0  # mean, beyond the shortest event of 4
APPEARANCES = 3
STRAY = 0.05  # frequency of a class in other topics, relative to its own
RESEMBLANCE = 0.3  # share of the topic in a signature's squared length
VARIETY = 0.5  # share of an appearance in a signature's squared length

# L2 norms of the parts of a frame's features; NOISE is the standard deviation of each feature, so its norm is larger.
EVENT = 0.85
SCENERY = 0.6
LOOK = 0.2
DRIFT = 0.2
NOISE = 0.75


@dataclass(frozen=True)
class SyntheticWorld:
    """What all videos share, with T topics and C classes.

    `topics` (T,) are the topics' frequencies, `occurrence` (T, C) those of the classes in each; `scenery` (T, width)
    and `signatures` (C, APPEARANCES, width) are by modality; `scored` are the rated classes, `names` the vocabulary.
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


def make_world(classes: int, seed: int) -> SyntheticWorld:
    """The world of a seed; class ids are independent of the classes' frequencies."""
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
        distinct = _directions(rng, classes, width)
        variants = _directions(rng, classes * APPEARANCES, width).reshape(classes, APPEARANCES, width)
        mixed = np.sqrt(RESEMBLANCE) * shared + np.sqrt(1 - RESEMBLANCE) * distinct
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
    """The strength of each appearance of a class per frame, 0 to 1: (frames, APPEARANCES)."""
    time = np.arange(frames) + 0.5
    presence = np.zeros((frames, APPEARANCES))
    for _ in range(1 + rng.binomial(2, frames / 400)):
        duration = 4.0 + rng.gamma(4.0, EVENT_FRAMES / 4.0)
        onset = rng.uniform(-0.3 * duration, frames - 0.7 * duration)
        slope = rng.uniform(3.0, 9.0)  # frames from strength 0 to 1
        inside = np.minimum(time - onset, onset + duration - time)  # frames to the nearer end, negative outside
        strengths = presence[:, rng.integers(APPEARANCES)]
        np.maximum(strengths, np.clip(inside / slope + 0.5, 0.0, 1.0), out=strengths)
    return presence


def _view(rng: np.random.Generator, scenery: np.ndarray, events: np.ndarray) -> np.ndarray:
    """One modality of a video, uint8 (frames, width), from its scenery (width,) and its events (frames, width)."""
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
    """Ratings (start, class_id, relevance) of a few inner segments for each of `classes`."""
    first, last = UNRATED_ENDS
    starts = np.arange(first, len(presence) // SEGMENT_FRAMES - last) * SEGMENT_FRAMES
    starts = np.sort(rng.choice(starts, RATED_SEGMENTS, replace=False))
    ratings = []
    for class_id in rng.permutation(classes)[:MOST_RATED_CLASSES].tolist():
        for start in starts:
            is_there = presence[start : start + SEGMENT_FRAMES, class_id].mean() >= 0.5
            is_wrong = rng.random() < WRONG_RATINGS
            ratings.append((int(start), class_id, int(is_there != is_wrong)))
    return ratings


# ---- files


def write_shards(folder: Path, videos: int, classes: int, seed: int) -> None:
    """Write a world's videos to the new folder `folder`, as YouTube-8M is published.

    The files are `test*.tfrecord` (the first videos), `train*.tfrecord`, `vocabulary.csv` and `segment_classes.csv`.
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
    with Progress("generating videos", videos) as progress:
        for partition, numbers in (("test", range(tests)), ("train", range(tests, videos))):
            for shard, first in enumerate(range(numbers.start, numbers.stop, VIDEOS_PER_SHARD)):
                shard_numbers = range(first, min(first + VIDEOS_PER_SHARD, numbers.stop))
                with tensorflow.io.TFRecordWriter(str(folder / f"{partition}{shard:04d}.tfrecord")) as writer:
                    for number in shard_numbers:
                        scene = make_scene(world, number, partition == "train" and bool(is_rated[number]))
                        writer.write(encode(_name(int(ids[number])), scene))
                progress.advance(len(shard_numbers))
    names = "".join(f"{number},{name}\n" for number, name in enumerate(world.names))
    (folder / "vocabulary.csv").write_text("Index,Name\n" + names)
    scored = "".join(f"{class_id}\n" for class_id in world.scored)
    (folder / "segment_classes.csv").write_text("Index\n" + scored)


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
    # Protobuf maps have no order; without this the same video could give other bytes.
    return example.SerializeToString(deterministic=True)


def _name(number: int) -> str:
    """A four-character id, as YouTube-8M's."""
    digits = []
    for _ in range(4):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(digits)
