"""The description of a dataset (`dataset.json`): widths, segments, classes, and the folder of its content."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from files.replacing import replacing

SPLITS = ("pretrain", "finetune", "holdout", "test")
CLASS_NAMES = "class_names.json"  # of an ingest run: the vocabulary, a list of one name per class
Edge = Literal["roll", "clamp"]  # the frames of a window that is shifted beyond a video's end (`docs/data.md`)


@dataclass(frozen=True)
class Dataset:
    """The content of a frame store's `dataset.json`.

    `modalities` maps each feature list to its width, in the order of the columns of a frame's row. `segment_frames` is
    the length of a segment and the distance between two starts; `partial_segments` is True if a shorter last segment
    counts. Videos are truncated to `max_frames`, which is also the length over which a shift rolls. `vocabulary` has
    one name per class; `scored_classes` are the classes that a submission ranks. `digest` identifies frames, labels,
    splits and judgments. `unrated_ends` are the numbers of segments at the start and the end of a video that nobody
    rates, so ranking them would only push others beyond the cutoff.
    """

    name: str
    modalities: dict[str, int]
    dtype: Literal["uint8", "float32"]
    segment_frames: int
    partial_segments: bool
    max_frames: int
    edge: Edge
    vocabulary: list[str]
    scored_classes: list[int]
    digest: str
    unrated_ends: tuple[int, int] = (0, 0)  # older stores lack it

    @property
    def width(self) -> int:
        return sum(self.modalities.values())

    @property
    def classes(self) -> int:
        return len(self.vocabulary)

    def write(self, folder: Path, content: str = ".") -> None:
        """Write `dataset.json` into `folder`; `content` is the folder of the store's other files, relative to it."""
        with replacing(folder / "dataset.json") as temporary:
            temporary.write_text(json.dumps({**asdict(self), "content": content}, indent=1))


def read_class_names(path: Path) -> list[str]:
    """The names in a file `CLASS_NAMES`, by class id; ValueError if it cannot be read."""
    try:
        names = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}); type the ingest again to log it anew") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path} is not a list of names; type the ingest again to log it anew")
    return names


def read_dataset(folder: Path) -> Dataset:
    """The description of the frame store in `folder`; ValueError if there is none."""
    return read_description(folder)[0]


def read_description(folder: Path) -> tuple[Dataset, Path]:
    """The description of the frame store in `folder` and the folder of its other files; ValueError if unreadable."""
    path = folder / "dataset.json"
    if not path.is_file():
        raise ValueError(f"{folder} has no dataset.json; make a frame store with `python -m training ingest`")
    try:
        described = json.loads(path.read_text())
        content = described.pop("content", ".")  # older stores lack it: their files are next to dataset.json
        described["unrated_ends"] = tuple(described.get("unrated_ends", (0, 0)))  # JSON has no tuples
        dataset = Dataset(**described)
        if wrong := [name for name, valid in _valid_fields(dataset) if not valid]:
            raise ValueError(f"{wrong[0]} is {getattr(dataset, wrong[0])!r}")
        return dataset, folder / content
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not a description of a dataset ({error}); make the frame store again, with --force"
        ) from error


def _valid_fields(dataset: Dataset) -> Iterator[tuple[str, bool]]:
    """Whether each field that the ids of segments depend on has its type."""

    def whole(values: Iterable[object], lowest: int) -> bool:
        return all(type(value) is int and value >= lowest for value in values)

    yield "segment_frames", whole([dataset.segment_frames], 1)
    yield "max_frames", whole([dataset.max_frames], 1)
    yield "partial_segments", isinstance(dataset.partial_segments, bool)
    yield "scored_classes", isinstance(dataset.scored_classes, list) and whole(dataset.scored_classes, 0)
    yield "unrated_ends", len(dataset.unrated_ends) == 2 and whole(dataset.unrated_ends, 0)


def read_videos(folder: Path) -> pl.DataFrame:
    """The index of a frame store: video_id, split, file, first_frame, frames, classes; one row per video.

    ValueError if a column is missing or has another type, or if it has nulls or negative numbers.
    """
    path = read_description(folder)[1] / "videos.parquet"
    videos = read_store_table(path)
    for name in ("video_id", "split", "file", "first_frame", "frames"):
        kind = "text" if name in ("video_id", "split", "file") else "whole numbers from 0"
        column = videos[name] if name in videos.columns else pl.Series(dtype=pl.Null)
        is_valid = column.dtype == pl.String if kind == "text" else column.dtype.is_integer() and (column >= 0).all()
        if not is_valid or column.null_count():
            raise ValueError(f"{path} has no column {name} of {kind}; make the frame store again, with --force")
    return videos


def read_store_table(path: Path) -> pl.DataFrame:
    """A Parquet file of a frame store; ValueError if it is missing or damaged."""
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, FileNotFoundError) as error:
        raise damaged_store(path, error) from error


def damaged_store(path: Path, error: BaseException) -> ValueError:
    """The error for an unreadable file `path` of a store that has a `dataset.json`."""
    if isinstance(error, FileNotFoundError):
        return ValueError(f"{path} is missing; make the frame store again, with --force")
    reason = str(error).partition("\n")[0]
    return ValueError(f"{path} is damaged ({reason}); make the frame store again, with --force")
