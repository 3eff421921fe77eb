"""What a submission lacks or has too much of, told before anybody uploads it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from scoring.dataset import read_dataset, read_videos, segments_of
from scoring.ranked import K, RankedLists, read_blocks
from scoring.text import brief

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
