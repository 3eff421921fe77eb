"""The members of a line-up as a table or as JSON, without building any of them."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from training.members import Member, line_up
from training.models.boosted import BoostedConfig
from training.models.gated_netvlad import GatedNetVladConfig
from training.sources import audioset, synthetic, yt8m


@dataclass(frozen=True)
class Size:
    """What of a dataset decides how large a member is."""

    modalities: Mapping[str, int]
    classes: int
    segment_frames: int


PAPER = Size(yt8m.MODALITIES, yt8m.CLASSES, yt8m.SEGMENT_FRAMES)
# The line-ups made for other data: AudioSet's vocabulary, and the generated world unless it is told otherwise.
SIZES = {
    "audioset": Size(audioset.MODALITIES, 527, audioset.SEGMENT_FRAMES),
    "demo": Size(synthetic.MODALITIES, 40, yt8m.SEGMENT_FRAMES),
}


WIDE = 104  # columns of a terminal, for a table with a column for what the paper calls a member


def print_members(lineup: str, as_json: bool) -> None:
    """Print the members of `lineup` to standard output."""
    size = SIZES.get(lineup, PAPER)
    members = line_up(lineup)
    if not as_json:
        return _print_table(lineup, members, size)
    described = [
        {
            "name": member.name,
            "framework": member.framework,
            "parameters": parameters(member, size),
            "shifts": list(member.shifts),
            "published_map": member.published_map,
        }
        for member in members
    ]
    print(json.dumps(described, indent=1))


def parameters(member: Member, size: Size) -> int | None:
    """The number of trainable parameters; None for trees, and for a member that data of this size does not allow."""
    import torch

    config, least = member.config, _least_modalities(member)
    if isinstance(config, BoostedConfig) or least > len(size.modalities):
        return None
    if isinstance(config, GatedNetVladConfig):
        return config.parameters(size.modalities, size.classes)
    with torch.device("meta"):  # shapes alone, nothing is allocated
        drawn = member.sampler.frames or size.segment_frames
        window = drawn + 2 * member.sampler.surroundings + member.sampler.video_frames
        module = config.build(size.modalities, size.classes, window)
    return sum(parameter.numel() for parameter in module.parameters())


def _least_modalities(member: Member) -> int:
    return getattr(member.config, "least_modalities", 1)


def _print_table(lineup: str, members: tuple[Member, ...], size: Size) -> None:
    from rich.console import Console
    from rich.table import Table

    # A file or a pipe has no width of its own, and a table cut to a guess would lose names.
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
    # On a narrow terminal what the paper calls a member stands below the member's own name.
    for column in ("member", "in the paper", "framework") if is_wide else ("member", "framework"):
        table.add_column(column, no_wrap=True)
    for column in ("modalities", "shifts", "parameters", "paper's\nMAP"):
        table.add_column(column, justify="right", no_wrap=True)
    for member in members:
        count, paper = parameters(member, size), member.paper_name
        missing = "trees" if member.framework == "lightgbm" else "left out"
        below = f"\n  [dim]{paper}[/dim]" if paper else ""
        table.add_row(
            *((member.name, paper or "-") if is_wide else (member.name + below,)),
            member.framework,
            str(_least_modalities(member)),
            f"{min(member.shifts)} to {max(member.shifts)}" if len(member.shifts) > 1 else "0",
            missing if count is None else f"{count:,}",
            "-" if member.published_map is None else f"{member.published_map:.4f}",
        )
    console.print(table)
