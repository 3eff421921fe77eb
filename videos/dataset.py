"""The description of a dataset (`dataset.json`): its widths, its segments, its classes, and where its content is."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from files.replacing import replacing

SPLITS = ("pretrain", "finetune", "holdout", "test")
Edge = Literal["roll", "clamp"]  # what a window shifted beyond a video's end sees (`docs/data.md`)


@dataclass(frozen=True)
class Dataset:
    """What a frame store's `dataset.json` says of its data.

    `modalities` maps the name of each feature list to its width, in the order in which they stand in a frame's row.
    `segment_frames` is a segment's length in frames and the distance between starts; `partial_segments` says whether
    a shorter last segment counts. `max_frames` is the longest video kept and the length over which a shift rolls.
    `vocabulary` names the classes (its length is the number of classes), `scored_classes` are those that a submission
    ranks. `digest` identifies frames, labels, splits and judgments together.
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


def read_dataset(folder: Path) -> Dataset:
    """The description of the frame store in `folder`; ValueError with the remedy when there is none."""
    return read_description(folder)[0]


def read_description(folder: Path) -> tuple[Dataset, Path]:
    """The description of the frame store in `folder`, and the folder of its other files.

    Raises:
        ValueError: there is no description in `folder`, or it cannot be read; names the remedy.
    """
    path = folder / "dataset.json"
    if not path.is_file():
        raise ValueError(f"{folder} holds no dataset.json; make a frame store with `python -m training ingest`")
    try:
        described = json.loads(path.read_text())
        content = described.pop("content", ".")  # older stores lack it: their files are beside dataset.json
        return Dataset(**described), folder / content
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is no description of a dataset ({error}); make the frame store again, with --force"
        ) from error


def read_videos(folder: Path) -> pl.DataFrame:
    """The index of a frame store: video_id, split, file, first_frame, frames, classes; one row per video."""
    return read_store_table(read_description(folder)[1] / "videos.parquet")


def read_store_table(path: Path) -> pl.DataFrame:
    """One of a frame store's Parquet files; ValueError with the remedy when it is missing or damaged."""
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, FileNotFoundError) as error:
        raise damaged_store(path, error) from error


def damaged_store(path: Path, error: BaseException) -> ValueError:
    """What to raise where the file `path` of a frame store that has a `dataset.json` cannot be read."""
    if isinstance(error, FileNotFoundError):
        return ValueError(f"{path} is missing; make the frame store again, with --force")
    reason = str(error).partition("\n")[0]
    return ValueError(f"{path} is damaged ({reason}); make the frame store again, with --force")
