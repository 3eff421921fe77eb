"""Tables as text to copy: CSV, Markdown and LaTeX, with rounded numbers and escaped names."""

import csv
import io
import re
from collections.abc import Callable, Mapping

import polars as pl
import polars.selectors as cs

LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
LATEX |= {character: f"\\{character}" for character in "&%$#_{}"}


def as_csv(table: pl.DataFrame) -> str:
    """All digits, with the names of the columns as in the code; formulas of spreadsheets are quoted as text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    for row in table.iter_rows():
        writer.writerow(["" if value is None else _no_formula(value) for value in row])
    return text.getvalue()


def as_markdown(table: pl.DataFrame, titles: Mapping[str, str]) -> str:
    """A Markdown table of the columns in `titles` (name -> title), numbers to the right."""
    lines = [_row([_markdown(title) for title in titles.values()], "| ", " | ", " |")]
    lines.append("|" + "|".join("---:" if table[name].dtype.is_numeric() else "---" for name in titles) + "|")
    lines += [_row(cells, "| ", " | ", " |") for cells in _cells(table, titles, _markdown)]
    return "\n".join(lines) + "\n"


def as_latex(table: pl.DataFrame, titles: Mapping[str, str]) -> str:
    """A LaTeX tabular (booktabs) of the columns in `titles`, numbers to the right."""
    columns = "".join("r" if table[name].dtype.is_numeric() else "l" for name in titles)
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    lines.append(_row([_latex(title) for title in titles.values()], "", " & ", r" \\"))
    lines.append(r"\midrule")
    lines += [_row(cells, "", " & ", r" \\") for cells in _cells(table, titles, _latex)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def signed(change: float) -> str:
    """`+0.0123`, `−0.0123`, `+0.0000`."""
    return f"{change:+z.4f}".replace("-", "−")


def without_minus_zero(table: pl.DataFrame) -> pl.DataFrame:
    """The table with 0 for what would be shown as -0.0000, which printf and d3 leave as it is."""
    return table.with_columns(pl.when(cs.float().is_between(-5e-5, 0)).then(0.0).otherwise(cs.float()).name.keep())


def cell_text(value: object) -> str:
    """`0.7204`, `12,000`, `–` for what is missing; other values as they are."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:z.4f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _cells(table: pl.DataFrame, titles: Mapping[str, str], escape: Callable[[str], str]) -> list[list[str]]:
    return [[escape(cell_text(value)) for value in row] for row in table.select(*titles).iter_rows()]


def _row(cells: list[str], start: str, between: str, end: str) -> str:
    return start + between.join(cells) + end


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|$])", r"\\\1", " ".join(text.split()))


def _latex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in " ".join(text.split()))


def _no_formula(value: object) -> object:
    """A text that a spreadsheet would run as a formula gets a leading quote (OWASP, CSV injection)."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
