"""YouTube-8M and AudioSet records made by hand, for the tests of what reads them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from videos.sources.records import import_tensorflow
from videos.store import open_frames

WIDTHS = {"rgb": 4, "audio": 2}


def feature(value: object):
    """A feature from one string, or from a sequence of ints or floats."""
    train = import_tensorflow().train
    if isinstance(value, str):
        return train.Feature(bytes_list=train.BytesList(value=[value.encode()]))
    values = list(value)  # type: ignore[call-overload]
    if values and isinstance(values[0], float):
        return train.Feature(float_list=train.FloatList(value=values))
    return train.Feature(int64_list=train.Int64List(value=values))


def sequence_example(context: Mapping[str, object], lists: Mapping[str, Iterable[bytes]]) -> bytes:
    train = import_tensorflow().train
    feature_lists = {
        name: train.FeatureList(feature=[train.Feature(bytes_list=train.BytesList(value=[row])) for row in rows])
        for name, rows in lists.items()
    }
    return train.SequenceExample(
        context=train.Features(feature={name: feature(value) for name, value in context.items()}),
        feature_lists=train.FeatureLists(feature_list=feature_lists),
    ).SerializeToString()


def example(features: Mapping[str, object]) -> bytes:
    train = import_tensorflow().train
    wrapped = train.Features(feature={name: feature(value) for name, value in features.items()})
    return train.Example(features=wrapped).SerializeToString()


def frames_of(video_id: str, count: int, width: int) -> np.ndarray:
    """Frames that tell their video and their position: uint8 (count, width)."""
    return ((sum(video_id.encode()) + np.arange(count * width)) % 256).astype(np.uint8).reshape(count, width)


def frame_level(
    video_id: str,
    frames: int = 12,
    labels: Sequence[float] | None = (1,),
    ratings: Sequence[tuple[int, int, float]] = (),
    widths: Mapping[str, int] = WIDTHS,
    **changed: object,
) -> bytes:
    """A frame-level record; `ratings` are (start, class, score); `changed` context fields replace, None removes."""
    context: dict[str, object] = {"id": video_id, "labels": labels}
    if ratings:
        starts, classes, scores = zip(*ratings, strict=True)
        context |= {"segment_start_times": starts, "segment_labels": classes, "segment_scores": scores}
    context = {name: value for name, value in (context | changed).items() if value is not None}
    lists = {name: [row.tobytes() for row in frames_of(video_id, frames, width)] for name, width in widths.items()}
    return sequence_example(context, lists)


def video_level(video_id: str, labels: Sequence[int] = (1,), **changed: object) -> bytes:
    """A video-level record; `changed` features replace, None removes."""
    means = {f"mean_{name}": [0.25 * number for number in range(width)] for name, width in WIDTHS.items()}
    features = {"id": video_id, "labels": labels, **means} | changed
    return example({name: value for name, value in features.items() if value is not None})


def write_shard(path: Path, records: Iterable[bytes]) -> Path:
    with import_tensorflow().io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path


def splits(folder: Path) -> dict[str, str]:
    """The split of each video of a frame store."""
    return dict(open_frames(folder).videos.select("video_id", "split").rows())
