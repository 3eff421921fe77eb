"""A progress bar over blocks of classes, on a terminal only."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from scoring.lists.ranked import RankedLists, class_blocks
from terminal.progress import track

T = TypeVar("T")


def shown(blocks: Iterator[T], sources: Iterable[RankedLists], text: str) -> Iterator[T]:
    """Pass on the blocks of these sources, with a progress bar named `text`."""
    return track(blocks, text, lambda: sum(1 for _ in class_blocks(sources)))
