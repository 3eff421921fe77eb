"""The command check: what a submission lacks or has too much of, before anybody uploads it."""

import json as json_format
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import polars as pl
from tyro.conf import arg

from scoring.commands.options import FormatFlag, OneSubmission, Split
from scoring.lists.opening import open_submission
from scoring.lists.ranked import K, RankedLists, read_blocks
from scoring.lists.text import brief
from terminal.cli import counted
from videos.dataset import read_dataset, read_videos
from videos.segments import rankable, segments_of

NAMED = 5  # classes or segments named in a sentence


@dataclass(frozen=True)
class Check:
    """`faults` cost score or make an upload fail; `remarks` may be meant."""

    faults: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def check_submission(lists: RankedLists, data: Path, *, split: str, cutoff: int = K) -> Check:
    """Compare a submission with the segments of a split and the scored classes of the frame store in `data`."""
    dataset = read_dataset(data)
    videos = read_videos(data).filter(pl.col("split") == split)
    segments = segments_of(videos, dataset).filter(rankable(dataset))["segment_id"]
    if segments.is_empty():
        raise ValueError(f"{data} has no segments in the split {split}; choose another --split")
    result = Check()
    scored, given = set(dataset.scored_classes), set(lists.classes)
    if missing := sorted(scored - given):
        result.faults.append(
            f"{counted(len(missing), 'scored class')} missing, each of which counts 0: {_some(missing)}"
        )
    if unknown := sorted(given - scored):
        result.faults.append(f"{counted(len(unknown), 'class')} not scored: {_some(unknown)}")
    empty, long, short, strange = [], [], [], []
    for block in read_blocks(lists):
        known = block.segments.is_in(segments.implode()).to_numpy()
        for class_id, codes in block.ranked():
            if not len(codes):
                empty.append(class_id)
            elif len(codes) > cutoff:
                long.append(class_id)
            elif len(codes) < min(cutoff, len(segments)):
                short.append(class_id)
            strange += [
                f"{brief(block.segments[int(code)])} (class {class_id})" for code in codes[~known[codes]][:NAMED]
            ]
    if strange:
        result.faults.append(f"segments that the {split} split does not have, such as {_some(strange)}")
    if empty:
        result.faults.append(f"{counted(len(empty), 'class')} with nothing retrieved: {_some(empty)}")
    if long:
        result.faults.append(
            f"{counted(len(long), 'class')} with more than {cutoff:,} segments, of which the rest is cut: {_some(long)}"
        )
    if short:
        most = min(cutoff, len(segments))
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
    data: Annotated[Path, arg(metavar="DIR")],
    split: Split = "test",
    format: FormatFlag = None,
    json: bool = False,
) -> None:
    """Say what a submission lacks or has too much of, before anybody uploads it. Exits with 1 if it has faults.

    Args:
        submission: Kaggle CSV, Parquet, coded folder or TREC run.
        data: Folder of the frame store with the scored classes and the segments.
        split: The split that the submission ranks.
        format: `trec` for a TREC run; other formats are known by their suffix.
        json: Print one JSON object.
    """
    checked = check_submission(open_submission(submission, format), data, split=split)
    if json:
        print(json_format.dumps(asdict(checked)))
    else:
        for text in (*(f"fault: {fault}" for fault in checked.faults), *checked.remarks):
            print(text)
        faults = counted(len(checked.faults), "fault")
        print(f"{submission} has {faults}" if checked.faults else f"{submission} is complete")
    if checked.faults:
        sys.exit(1)
