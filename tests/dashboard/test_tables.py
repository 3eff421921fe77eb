import csv

import polars as pl
from streamlit.testing.v1 import AppTest

from dashboard.parts import gain
from dashboard.tables import as_csv, as_latex, as_markdown, cell_text, signed, without_minus_zero

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


def test_a_change_that_rounds_to_nothing_has_no_minus_sign() -> None:
    def page() -> None:
        import polars as pl

        from dashboard.parts import show_table

        table = pl.DataFrame({"change": [-0.00001, None, -0.2], "count": [0, -1, 2]})
        show_table(table, {}, name="changes", alt="Changes")

    app = AppTest.from_function(page).run()
    assert not app.exception
    assert [str(change) for change in app.dataframe[0].value["change"]] == ["0.0", "nan", "-0.2"]
    assert (signed(-0.00001), gain(0.5, 0.50001), cell_text(-0.00001)) == ("+0.0000", "+0.0000", "0.0000")
    values = without_minus_zero(pl.DataFrame({"change": [-0.00004, -0.00006]}))["change"].to_list()
    assert [f"{value:+.4f}" for value in values] == ["+0.0000", "-0.0001"]
