"""A progress bar for anything longer than a second, on a terminal only."""

from collections.abc import Callable, Iterator, Mapping
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

T = TypeVar("T")


class Progress:
    """A bar named `label` that runs to `total`; silent where standard error is no terminal."""

    def __init__(self, label: str, total: int):
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[values]}"),
        )
        self._bar = Bar(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task(label, total=total, values="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, steps: int) -> None:
        self._bar.advance(self._task, steps)

    def at(self, step: int, values: Mapping[str, float]) -> None:
        """Move to `step` and show loss, MAP, or speed and amount next to the bar."""
        formats = {"loss": "loss {:.3f}", "map": "MAP {:.4f}", "videos/s": "{:.0f} videos/s", "GB": "{:.1f} GB"}
        text = " ".join(formats[key].format(value) for key, value in values.items() if key in formats)
        self._bar.update(self._task, completed=step, values=text)


def track(items: Iterator[T], label: str, count: Callable[[], int]) -> Iterator[T]:
    """`items`, with a bar named `label` that runs to `count()`, which is called on a terminal only."""
    if not Console(stderr=True).is_terminal:
        yield from items
        return
    with Progress(label, count()) as progress:
        for item in items:
            yield item
            progress.advance(1)
