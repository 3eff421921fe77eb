"""The members of a line-up as a table or as JSON, without building any of them."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from training.fit.kinds import parameters_of
from training.member import Member
from training.members import line_up
from videos.dataset import Dataset
from videos.sources import audioset, synthetic, yt8m


@dataclass(frozen=True)
class Size:
    """The properties of a dataset that determine the number of a member's parameters."""

    modalities: Mapping[str, int]
    classes: int
    segment_frames: int


PAPER = Size(yt8m.MODALITIES, yt8m.CLASSES, yt8m.SEGMENT_FRAMES)
# Line-ups for other data: AudioSet's vocabulary, and the default size of generated videos.
SIZES = {
    "audioset": Size(audioset.MODALITIES, 527, audioset.SEGMENT_FRAMES),
    "demo": Size(synthetic.MODALITIES, synthetic.CLASSES, yt8m.SEGMENT_FRAMES),
}


WIDE = 104  # terminal columns from which the paper's name of a member has its own column


def print_members(lineup: str, as_json: bool) -> None:
    """Print the members of `lineup` to standard output."""
    size = SIZES.get(lineup, PAPER)
    counted = [(member, _count(member, size)) for member in line_up(lineup)]
    if not as_json:
        return _print_table(lineup, counted, size)
    described = [
        {
            "name": member.name,
            "framework": member.framework,
            "parameters": count if isinstance(count, int) else None,
            "shifts": list(member.shifts),
            "published_map": member.published_map,
        }
        for member, count in counted
    ]
    print(json.dumps(described, indent=1))


def parameters(member: Member, size: Size | Dataset) -> int | None:
    """The number of trainable parameters (None for trees), without allocating them; ValueError as in `Kind`."""
    return parameters_of(member, modalities=size.modalities, classes=size.classes, segment_frames=size.segment_frames)


def _count(member: Member, size: Size) -> int | ValueError | None:
    """`parameters`, or its error."""
    try:
        return parameters(member, size)
    except ValueError as error:
        return error


def _size_text(count: int | ValueError | None) -> str:
    if isinstance(count, ValueError):
        return "left out"
    return "trees" if count is None else f"{count:,}"


def _print_table(lineup: str, counted: list[tuple[Member, int | ValueError | None]], size: Size) -> None:
    from rich.console import Console
    from rich.table import Table

    # A file or a pipe has no width, and rich's default would truncate names.
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    is_wide = console.width >= WIDE
    widths = " + ".join(f"{width} {modality}" for modality, width in size.modalities.items())
    table = Table(
        title=f"Line-up {lineup}, on {widths} features and {size.classes:,} classes",
        title_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        caption="modalities: how many a member needs at least; "
        "paper's MAP: private MAP@100K as published, on YouTube-8M, shifts merged",
        caption_justify="left",
    )
    # On a narrow terminal the paper's name of a member is printed below the member's own.
    for column in ("member", "in the paper", "framework") if is_wide else ("member", "framework"):
        table.add_column(column, no_wrap=True)
    for column in ("modalities", "shifts", "parameters", "paper's\nMAP"):
        table.add_column(column, justify="right", no_wrap=True)
    for member, count in counted:
        paper = member.paper_name
        below = f"\n  [dim]{paper}[/dim]" if paper else ""
        table.add_row(
            *((member.name, paper or "-") if is_wide else (member.name + below,)),
            member.framework,
            str(member.config.least_modalities),
            f"{min(member.shifts)} to {max(member.shifts)}" if len(member.shifts) > 1 else "0",
            _size_text(count),
            "-" if member.published_map is None else f"{member.published_map:.4f}",
        )
    console.print(table)
    for member, count in counted:
        if isinstance(count, ValueError):
            console.print(f"{member.name} is left out: {count}", highlight=False)
