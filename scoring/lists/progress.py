"""A progress bar over blocks of classes, where somebody is looking."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from scoring.lists.ranked import RankedLists, class_blocks

T = TypeVar("T")


def shown(blocks: Iterator[T], sources: Iterable[RankedLists], text: str) -> Iterator[T]:
    """The blocks of these lists as they come, with a bar on a terminal."""
    if not sys.stderr.isatty():
        return blocks
    from rich.console import Console
    from rich.progress import track

    total = sum(1 for _ in class_blocks(sources))
    return iter(track(blocks, text, total, console=Console(stderr=True), transient=True))
