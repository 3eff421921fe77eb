"""TFRecord files and the fields of their records."""

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np

from videos.segments import SEPARATOR

READ_AHEAD = 8 << 20  # bytes


class DamagedShard(ValueError):
    """The rest of a shard cannot be read."""


def read_records(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file; DamagedShard at the point where it is truncated or corrupt."""
    tensorflow = import_tensorflow()
    with open(path, "rb") as stream:  # raises an OSError that names the file, as TensorFlow's do not
        is_empty = not stream.read(1)
    if is_empty:
        raise DamagedShard("the shard is empty")
    records = tensorflow.data.TFRecordDataset(str(path), buffer_size=READ_AHEAD).as_numpy_iterator()
    while True:
        try:
            record = next(records)
        except StopIteration:
            return
        except tensorflow.errors.DataLossError:
            raise DamagedShard("the shard is truncated or corrupt from here on") from None
        yield record


KINDS = {"bytes_list": "strings", "int64_list": "integers", "float_list": "floats"}


class Record:
    """A `SequenceExample`, or an `Example`, which parses as one without frames. ValueError if a field is missing."""

    def __init__(self, record: bytes):
        from google.protobuf.message import DecodeError

        try:
            example = import_tensorflow().train.SequenceExample.FromString(record)
        except DecodeError:
            raise ValueError("is no SequenceExample or Example") from None
        self._context = example.context.feature
        self._lists = example.feature_lists.feature_list

    def has(self, name: str) -> bool:
        return name in self._context and self._context[name].WhichOneof("kind") is not None

    @property
    def has_frames(self) -> bool:
        return bool(self._lists)

    def video_id(self, name: str) -> str:
        """The string in the field `name`, a valid first part of a segment's id (`<video_id>:<start>`)."""
        values = self._feature(name, "bytes_list").value
        if len(values) != 1 or not values[0]:
            raise ValueError(f"`{name}` is not one string")
        try:
            video_id = values[0].decode()
        except UnicodeDecodeError:
            raise ValueError(f"`{name}` is not UTF-8") from None
        if SEPARATOR in video_id:
            raise ValueError(f"`{name}` is {video_id!r}; a video's id must not contain a colon")
        return video_id

    def integers(self, name: str) -> list[int]:
        return list(self._feature(name, "int64_list").value)

    def floats(self, name: str) -> np.ndarray:
        return np.array(self._feature(name, "float_list").value, np.float32)

    def frames(self, name: str, width: int) -> np.ndarray:
        """The feature list `name` as uint8 (frames, width)."""
        if name not in self._lists:
            raise ValueError(f"lacks the feature list `{name}`")
        rows = [
            feature.bytes_list.value[0] if feature.bytes_list.value else b"" for feature in self._lists[name].feature
        ]
        for number, row in enumerate(rows):
            if len(row) != width:
                raise ValueError(f"frame {number} of `{name}` is {len(row)} wide, not {width}")
        return np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), width)

    def _feature(self, name: str, kind: str):
        if not self.has(name):  # TensorFlow treats a feature without a list as missing
            raise ValueError(f"lacks the field `{name}`")
        actual = self._context[name].WhichOneof("kind")
        if actual != kind:
            raise ValueError(f"`{name}` holds {KINDS[actual]}, not {KINDS[kind]}")
        return getattr(self._context[name], kind)


def check_classes(classes: list[int], count: int, name: str) -> None:
    """ValueError if one of `classes`, from the field `name`, is outside the vocabulary of `count` classes."""
    for class_id in classes:
        if not 0 <= class_id < count:
            raise ValueError(f"`{name}` holds {class_id}, outside the vocabulary (0 to {count - 1})")


@functools.cache
def import_tensorflow() -> ModuleType:
    """Import TensorFlow without the lines that its C++ code writes to stderr."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # the processes that read shards need no GPU memory
    with _quiet_stderr():
        import tensorflow
    return tensorflow


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
