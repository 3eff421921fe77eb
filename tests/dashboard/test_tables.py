import csv

import polars as pl

from dashboard.tables import as_csv, as_latex, as_markdown

TABLE = pl.DataFrame({"member": ["a_b|c", "=1+1 & 50 %"], "map": [0.71234, None], "steps": [12000, 5]})
TITLES = {"member": "Member", "map": "MAP", "steps": "Steps"}


def test_csv_has_all_digits_and_no_formula() -> None:
    rows = list(csv.reader(as_csv(TABLE).splitlines()))
    assert rows == [["member", "map", "steps"], ["a_b|c", "0.71234", "12000"], ["'=1+1 & 50 %", "", "5"]]


def test_markdown_rounds_and_escapes() -> None:
    assert as_markdown(TABLE, TITLES) == (
        "| Member | MAP | Steps |\n|---|---:|---:|\n| a\\_b\\|c | 0.7123 | 12,000 |\n| =1+1 & 50 % | – | 5 |\n"
    )


def test_latex_rounds_and_escapes() -> None:
    assert as_latex(TABLE, {"member": "Member", "map": "MAP"}).splitlines() == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"Member & MAP \\",
        r"\midrule",
        r"a\_b|c & 0.7123 \\",
        r"=1+1 \& 50 \% & – \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
