"""The command check: what is missing from a submission or superfluous, before it is uploaded."""

import json as json_format
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
from tyro.conf import arg

from scoring.commands.options import FileFlag, FormatFlag, OneSubmission, Split
from scoring.lists.opening import open_submission
from scoring.lists.ranked import K, RankedLists, read_blocks
from scoring.lists.text import brief, read_text
from terminal.cli import counted
from videos.dataset import read_dataset, read_videos
from videos.segments import rankable, segments_of

NAMED = 5  # at most so many classes or segments are named in a sentence

FolderFlag = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")]


@dataclass(frozen=True)
class Check:
    """`faults` lower the score or make an upload fail; `remarks` may be intended."""

    faults: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Expected:
    """The segments that may be ranked and the classes that are scored (as text); `origin` names their source.

    ValueError if there are no segments.
    """

    segments: pl.Series
    classes: list[str]
    origin: str

    def __post_init__(self) -> None:
        if self.segments.is_empty():
            raise ValueError(f"{self.origin} has no segments; check what was given")


def expected_of_store(data: Path, split: str) -> Expected:
    """Every segment of a split of a frame store, and its scored classes."""
    dataset = read_dataset(data)
    videos = read_videos(data).filter(pl.col("split") == split)
    segments = segments_of(videos, dataset).filter(rankable(dataset))["segment_id"]
    if segments.is_empty():
        raise ValueError(f"{data} has no segments in the split {split}; choose another --split")
    return Expected(segments, [str(class_id) for class_id in dataset.scored_classes], f"the {split} split")


def expected_of_sample(lists: RankedLists) -> Expected:
    """The segments that a sample submission lists, and its classes."""
    listed = [
        block.segments.gather(np.unique(np.concatenate([codes for _, codes in block.ranked()])))
        for block in read_blocks(lists)
    ]
    return Expected(pl.concat(listed).unique(), [str(class_id) for class_id in lists.classes], "the sample")


def expected_of_texts(ids: Path, classes: Path) -> Expected:
    """The ids and classes of two text files, one a line; ASCII blanks around them and empty lines are ignored."""
    segments, names = (
        pl.Series(read_text(path).split("\n"), dtype=pl.String).str.strip_chars(" \t\r\v\f") for path in (ids, classes)
    )
    segments, names = segments.filter(segments != ""), names.filter(names != "")
    return Expected(segments.unique(), names.unique(maintain_order=True).to_list(), str(ids))


def check_submission(lists: RankedLists, expected: Expected) -> Check:
    """Compare a submission with the segments and classes that are expected."""
    result, segments = Check(), expected.segments
    most = min(K, len(segments))
    given = dict.fromkeys(map(str, lists.classes))
    scored = set(expected.classes)
    if missing := [class_id for class_id in expected.classes if class_id not in given]:
        result.faults.append(
            f"{counted(len(missing), 'scored class')} missing, each of which counts 0: {_some(missing)}"
        )
    if unknown := [class_id for class_id in given if class_id not in scored]:
        result.faults.append(f"{counted(len(unknown), 'class')} not scored: {_some(unknown)}")
    empty, long, short, strange = [], [], [], []
    for block in read_blocks(lists):
        known = block.segments.is_in(segments.implode()).to_numpy()
        for class_id, codes in block.ranked():
            if not len(codes):
                empty.append(class_id)
            elif len(codes) > K:
                long.append(class_id)
            elif len(codes) < most:
                short.append(class_id)
            strange += [
                f"{brief(block.segments[int(code)])} (class {class_id})" for code in codes[~known[codes]][:NAMED]
            ]
    if strange:
        result.faults.append(f"segments that {expected.origin} does not have, such as {_some(strange)}")
    if empty:
        result.faults.append(f"{counted(len(empty), 'class')} with nothing retrieved: {_some(empty)}")
    if long:
        result.faults.append(
            f"{counted(len(long), 'class')} with more than {K:,} segments, of which the rest is cut off: {_some(long)}"
        )
    if short:
        result.remarks.append(
            f"{counted(len(short), 'class')} with fewer segments than the {most:,} possible: {_some(short)}"
        )
    return result


def _some(items: Sequence) -> str:
    named = ", ".join(str(item) for item in items[:NAMED])
    return named if len(items) <= NAMED else f"{named}, ..."


def check(
    submission: OneSubmission,
    *,
    data: FolderFlag = None,
    split: Split = "test",
    sample: FileFlag = None,
    ids: FileFlag = None,
    classes: FileFlag = None,
    format: FormatFlag = None,
    json: bool = False,
) -> None:
    """Print what is missing from a submission or superfluous, before it is uploaded. Exits with 1 if it has faults.

    Give one of --data, --sample, or --ids with --classes.

    Args:
        submission: Kaggle CSV (header Class,Segments), Parquet (class_id, segment_id, rank), coded folder or TREC run.
            `-` is standard input.
        data: Folder of a frame store with the scored classes and the segments.
        split: The split of the frame store that the submission ranks.
        sample: A sample submission, which has every class and every id that may be ranked.
        ids: Text file of the ids that may be ranked, one a line.
        classes: Text file of the classes that are scored, one a line.
        format: `trec` for TREC runs; other formats are known by suffix or content.
        json: Print one JSON object.
    """
    if data and not (sample or ids or classes):
        expected = expected_of_store(data, split)
    elif sample and not (data or ids or classes):
        expected = expected_of_sample(open_submission(sample, format))
    elif ids and classes and not (data or sample):
        expected = expected_of_texts(ids, classes)
    else:
        raise ValueError("there is nothing to check against; give --data DIR, --sample FILE, or --ids and --classes")
    checked = check_submission(open_submission(submission, format), expected)
    if json:
        print(json_format.dumps(asdict(checked)))
    else:
        for text in (*(f"fault: {fault}" for fault in checked.faults), *checked.remarks):
            print(text)
        faults = counted(len(checked.faults), "fault")
        print(f"{submission} has {faults}" if checked.faults else f"{submission} is complete")
    if checked.faults:
        sys.exit(1)
