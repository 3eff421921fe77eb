"""What a submission lacks or has too much of, told before anybody uploads it."""

import json as json_format
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import polars as pl
from tyro.conf import arg

from scoring.commands.options import (
    FormatFlag,
    OneSubmission,
    Split,
)
from scoring.lists.opening import open_submission
from scoring.lists.ranked import K, RankedLists, read_blocks
from scoring.lists.text import brief
from terminal.cli import counted
from videos.dataset import read_dataset, read_videos
from videos.segments import segments_of

SHOWN = 5  # classes or segments named in a sentence


@dataclass(frozen=True)
class Check:
    """`faults` cost score or make an upload fail; `remarks` may be meant."""

    faults: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def check_submission(lists: RankedLists, data: Path, split: str, k: int = K) -> Check:
    """Compare a submission with the segments of a split and the scored classes of the frame store in `data`."""
    dataset = read_dataset(data)
    videos = read_videos(data).filter(pl.col("split") == split)
    segments = segments_of(videos, dataset)["segment_id"]
    if segments.is_empty():
        raise ValueError(f"{data} has no segments in the split {split}; choose another --split")
    check = Check()
    scored, given = set(dataset.scored_classes), set(lists.classes)
    if missing := sorted(scored - given):
        check.faults.append(f"{_count(missing, 'scored class')} missing, each of which counts 0: {_some(missing)}")
    if unknown := sorted(given - scored):
        check.faults.append(f"{_count(unknown, 'class')} not scored: {_some(unknown)}")
    empty, long, short, strange = [], [], [], []
    for block in read_blocks(lists):
        known = block.segments.is_in(segments.implode()).to_numpy()
        for class_id, codes in block.ranked():
            if not len(codes):
                empty.append(class_id)
            elif len(codes) > k:
                long.append(class_id)
            elif len(codes) < min(k, len(segments)):
                short.append(class_id)
            strange += [
                f"{brief(block.segments[int(code)])} (class {class_id})" for code in codes[~known[codes]][:SHOWN]
            ]
    if strange:
        check.faults.append(f"segments that the {split} split does not have, such as {_some(strange)}")
    if empty:
        check.faults.append(f"{_count(empty, 'class')} with nothing retrieved: {_some(empty)}")
    if long:
        check.faults.append(
            f"{_count(long, 'class')} with more than {k:,} segments, of which the rest is cut: {_some(long)}"
        )
    if short:
        most = min(k, len(segments))
        check.remarks.append(f"{_count(short, 'class')} with fewer segments than the {most:,} possible: {_some(short)}")
    return check


def _count(items: Sequence, noun: str) -> str:
    plural = noun if len(items) == 1 else f"{noun}es"
    return f"{len(items):,} {plural}"


def _some(items: Sequence) -> str:
    named = ", ".join(str(item) for item in items[:SHOWN])
    return named if len(items) <= SHOWN else f"{named}, ..."


def check(
    submission: OneSubmission,
    data: Annotated[Path, arg(metavar="DIR")],
    split: Split = "test",
    format: FormatFlag = None,
    json: bool = False,
) -> None:
    """Say what a submission lacks or has too much of, before anybody uploads it. Exits with 1 where it has faults.

    Args:
        submission: Kaggle CSV, Parquet, coded folder or TREC run.
        data: Folder of the frame store that tells the scored classes and the segments there are.
        split: The split that the submission ranks.
        format: `trec` for a TREC run; other formats are known by their suffix.
        json: Print one JSON object.
    """
    from scoring.commands.check import check_submission

    found = check_submission(open_submission(submission, format), data, split)
    if json:
        print(json_format.dumps(asdict(found)))
    else:
        for text in (*(f"fault: {fault}" for fault in found.faults), *found.remarks):
            print(text)
        print(
            f"{submission} has {counted(len(found.faults), 'fault')}" if found.faults else f"{submission} is complete"
        )
    if found.faults:
        sys.exit(1)
