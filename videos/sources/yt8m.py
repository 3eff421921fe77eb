"""YouTube-8M's TFRecords, as Google publishes them: frame level (uint8) and video level (float32).

A frame-level record is a `SequenceExample` with the context `id` and `labels`, the feature lists `rgb` and `audio` (one
string of bytes a second), and on rated videos the parallel context lists `segment_start_times`, `segment_labels` and
`segment_scores`: one entry is one person's judgment of one class in one five-second segment. A video-level record is
an `Example` with `id`, `labels`, `mean_rgb` and `mean_audio`, which makes a video of one frame.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from videos.sources.records import Record, check_classes, read_records
from videos.sources.shards import Shard, Video
from videos.store_writing import Fault

MODALITIES = {"rgb": 1024, "audio": 128}
CLASSES = 3862
SEGMENT_FRAMES = 5
MAX_FRAMES = 300
UNRATED_ENDS = (6, 2)  # segments at the start and the end of a video (the organisers, in the 7th place's paper)
ZERO = 127  # the byte whose feature is nearest to 0 (-0.00003): the original pads with zeros after dequantising

Level = Literal["frame", "video"]


@dataclass(frozen=True)
class YouTube8MReader:
    """Reads records of one level. Only ratings of the classes `scored` count (None: all)."""

    level: Level
    modalities: dict[str, int]
    classes: int
    scored: frozenset[int] | None = None

    @property
    def dtype(self) -> Literal["uint8", "float32"]:
        return "uint8" if self.level == "frame" else "float32"

    @property
    def width(self) -> int:
        return sum(self.modalities.values())

    def read(self, record: Record, test: bool) -> Video:
        """The video of a record, truncated to MAX_FRAMES like its ratings; in a `test` shard it may lack labels.

        Ratings beyond the video's end are left out, and a shorter modality is padded; both are noted in `repairs`.
        """
        video_id = record.video_id("id")
        repairs: list[tuple[Fault, str]] = []
        frames = self._frames(record, repairs)
        ratings = self._ratings(record, len(frames), repairs)
        labels = [] if test and not record.has("labels") else record.integers("labels")
        check_classes(labels, self.classes, "labels")
        return Video(video_id, frames[:MAX_FRAMES], labels, ratings, repairs)

    def _frames(self, record: Record, repairs: list[tuple[Fault, str]]) -> np.ndarray:
        if record.has_frames != (self.level == "frame"):
            raise ValueError(f"is not a {self.level}-level record like the first one; ingest each level by itself")
        if self.level == "video":
            parts = [_mean(record, f"mean_{name}", width) for name, width in self.modalities.items()]
        else:
            parts = [record.frames(name, width) for name, width in self.modalities.items()]
            counts = {name: len(part) for name, part in zip(self.modalities, parts, strict=True)}
            if not all(counts.values()):
                raise ValueError(f"has no frames in a modality: {counts}")
            if len(set(counts.values())) > 1:
                repairs.append(("padded_videos", f"different numbers of frames, padded with zeros: {counts}"))
                longest = max(counts.values())
                parts = [np.pad(part, ((0, longest - len(part)), (0, 0)), constant_values=ZERO) for part in parts]
        return np.concatenate(parts, axis=1)

    def _ratings(self, record: Record, frames: int, repairs: list[tuple[Fault, str]]) -> dict[tuple[int, int], int]:
        fields = ("segment_start_times", "segment_labels", "segment_scores")
        if not any(record.has(name) for name in fields):
            return {}
        starts, labels, scores = record.integers(fields[0]), record.integers(fields[1]), record.floats(fields[2])
        if not len(starts) == len(labels) == len(scores):
            counts = dict(zip(fields, map(len, (starts, labels, scores)), strict=True))
            raise ValueError(f"has different numbers of ratings: {counts}")
        check_classes(labels, self.classes, "segment_labels")
        ratings = {}
        for start, label, score in zip(starts, labels, scores, strict=True):
            if start < 0 or start % SEGMENT_FRAMES:
                raise ValueError(f"has a rating at {start} s, where no segment of {SEGMENT_FRAMES} s starts")
            if start >= frames:
                text = f"left out a rating of class {label} at {start} s, beyond the end of the video of {frames} s"
                repairs.append(("late_ratings", text))
            elif start < MAX_FRAMES and (self.scored is None or label in self.scored):
                ratings[label, start] = int(score > 0)
        return ratings


def _mean(record: Record, name: str, width: int) -> np.ndarray:
    values = record.floats(name)
    if len(values) != width:
        raise ValueError(f"`{name}` is {len(values)} wide, not {width}")
    if not np.isfinite(values).all():
        raise ValueError(f"`{name}` holds a value that is not finite")
    return values[None]


def find_level(shards: Sequence[Shard]) -> Level:
    """The level of the first record that can be read."""
    for shard in shards:
        with contextlib.suppress(ValueError, StopIteration):  # reported when the shard is ingested
            return "frame" if Record(next(read_records(shard.path))).has_frames else "video"
    return "frame"
