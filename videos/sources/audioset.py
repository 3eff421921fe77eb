"""AudioSet's VGGish features, judged by the time-stamped events of DESED and DCASE 2017 task 4.

A record is a `SequenceExample` with the context `video_id` and `labels` and the feature list `audio_embedding`, one
string of 128 bytes for each 0.96 s of a ten-second clip. The strong labels are in separate files:

- `classes.csv` (source, event_label, class_id): the classes that each source annotates;
- `<source>_train.tsv` and `<source>_holdout.tsv` (video_id, onset, offset, event_label; seconds from the clip's start):
  the finetune and the holdout split; a row without onset and event is a clip without events;
- `test_clips.tsv` (video_id, source): clips whose events are withheld.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from videos.judgments import JUDGMENTS
from videos.sources.records import Record, check_classes
from videos.sources.shards import Video
from videos.sources.tables import read_table

MODALITIES = {"audio": 128}
SEGMENT_FRAMES = 2
MAX_FRAMES = 10
FRAME_SECONDS = 0.96
RELEVANT_SECONDS = 0.5 - 1e-9  # with a tolerance, since onsets and offsets are rounded decimals

CLASS_COLUMNS = ["source", "event_label", "class_id"]
EVENT_COLUMNS = ["video_id", "onset", "offset", "event_label"]
TEST_COLUMNS = ["video_id", "source"]

Interval = tuple[float, float]


@dataclass(frozen=True)
class AudioSetReader:
    """Reads records with clip-level labels; `classes` is the size of the vocabulary."""

    classes: int
    dtype: str = "uint8"
    width: int = MODALITIES["audio"]

    def read(self, record: Record, test: bool) -> Video:
        frames = record.frames("audio_embedding", self.width)
        if not len(frames):
            raise ValueError("has no frames")
        labels = record.integers("labels")
        check_classes(labels, self.classes, "labels")
        return Video(record.video_id("video_id"), frames[:MAX_FRAMES], labels)


@dataclass
class Clip:
    """An annotated clip: its split, the classes it is judged for, and their events in seconds."""

    split: str
    judged: set[int] = field(default_factory=set)
    events: dict[int, list[Interval]] = field(default_factory=dict)


@dataclass(frozen=True)
class StrongLabels:
    """Annotated clips by id, and the classes that any source annotates, ascending."""

    clips: dict[str, Clip]
    classes: list[int]


def read_strong_labels(folder: Path, vocabulary: int) -> StrongLabels:
    """Read the folder described above; `vocabulary` is the number of AudioSet's classes.

    A clip is judged for all classes of the sources whose train or holdout file lists it. A clip in several files is in
    one split, test before holdout before finetune, so that no training uses a held-out clip.

    Raises:
        ValueError: a file is missing or a row is bad.
    """
    classes: dict[str, dict[str, int]] = {}
    for line, row in enumerate(_rows(folder / "classes.csv", CLASS_COLUMNS), 2):
        if not row["class_id"].isdecimal() or int(row["class_id"]) >= vocabulary:
            where = f"{folder / 'classes.csv'}, line {line}"
            raise ValueError(f"{where}: {row['class_id']!r} is no class id; they go from 0 to {vocabulary - 1}")
        classes.setdefault(row["source"], {})[row["event_label"]] = int(row["class_id"])
    clips: dict[str, Clip] = {}
    for split, name in (("finetune", "train"), ("holdout", "holdout")):  # the later split wins
        for source, events in classes.items():
            path = folder / f"{source}_{name}.tsv"
            for line, row in enumerate(_rows(path, EVENT_COLUMNS), 2):
                clip = clips.setdefault(row["video_id"], Clip(split))
                clip.split = split
                clip.judged |= set(events.values())
                if row["onset"] or row["offset"] or row["event_label"]:
                    class_id, interval = _read_event(row, events, f"{path}, line {line}")
                    clip.events.setdefault(class_id, []).append(interval)
    for row in _rows(folder / "test_clips.tsv", TEST_COLUMNS):
        clips[row["video_id"]] = Clip("test")
    return StrongLabels(clips, sorted({class_id for events in classes.values() for class_id in events.values()}))


def judge(clips: dict[str, Clip], segments: pl.DataFrame) -> pl.DataFrame:
    """Judgments (class_id, segment_id, relevance) of `segments` (video_id, start, segment_id) of annotated clips.

    Each segment is judged for all classes of its clip; it is relevant if the class's events cover at least 0.5 s of it.
    """
    judgments = []
    for video_id, start, segment_id in segments.select("video_id", "start", "segment_id").iter_rows():
        clip = clips.get(video_id)
        if clip is None:
            continue
        begin = FRAME_SECONDS * start
        end = begin + FRAME_SECONDS * SEGMENT_FRAMES
        for class_id in clip.judged:
            covered = covered_seconds(clip.events.get(class_id, []), begin, end)
            judgments.append((class_id, segment_id, int(covered >= RELEVANT_SECONDS)))
    return pl.DataFrame(judgments, schema=JUDGMENTS, orient="row")


def covered_seconds(events: Iterable[Interval], begin: float, end: float) -> float:
    """The length in seconds of the part of [begin, end) that the union of the events covers."""
    covered, reached = 0.0, begin
    for onset, offset in sorted(events):
        covered += max(min(offset, end) - max(onset, reached), 0.0)
        reached = max(reached, offset)
    return covered


def _read_event(row: dict[str, str], events: dict[str, int], where: str) -> tuple[int, Interval]:
    if row["event_label"] not in events:
        raise ValueError(f"{where}: {row['event_label']!r} is not an event of this source; add it to classes.csv")
    try:
        onset, offset = float(row["onset"]), float(row["offset"])
    except ValueError:
        raise ValueError(f"{where}: onset {row['onset']!r} or offset {row['offset']!r} is no number") from None
    if not 0 <= onset <= offset:
        raise ValueError(f"{where}: the event lasts from {onset} to {offset}; an onset comes before its offset")
    return events[row["event_label"]], (onset, offset)


def _rows(path: Path, columns: list[str]) -> list[dict[str, str]]:
    """The rows of a small table; empty cells are empty strings."""
    table = read_table(path, columns, "\t" if path.suffix == ".tsv" else ",")
    return table.select(pl.col(columns).fill_null("")).to_dicts()
