"""Tables as plain text, identical on a terminal and in a pipe."""

from collections.abc import Iterable, Sequence
from io import StringIO

from rich.console import Console
from rich.table import Table

WIDEST = 10_000  # characters per line: wider than any table, so no cell is truncated or wrapped


def table_text(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table without borders: a heading line, then one line per row; the first column is left-aligned, the others
    right-aligned."""
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    text = StringIO()
    # Without markup, because a member's name may look like a tag of rich's markup.
    Console(file=text, width=WIDEST, color_system=None, markup=False, emoji=False, highlight=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
