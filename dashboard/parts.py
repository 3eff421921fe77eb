"""Parts of several pages: formatted numbers, warnings about failed stages, and the provenance of the numbers."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import polars as pl
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from dashboard import data, tables
from dashboard.charts import Chart
from dashboard.pictures import file_name, png, svg
from tracking import metrics


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def gain(value: float | None, base: float | None) -> str | None:
    """The signed difference of two scores, None if one is missing."""
    return None if value is None or base is None else f"{value - base:+z.4f}"


def card(label: str, value: str, note: str | None = None) -> None:
    """A number in a box, with a note below it."""
    st.metric(label, value, note, delta_color="off", delta_arrow="off", border=True, height="stretch")


def change_card(label: str, value: str, change: str | None, what: str) -> None:
    """A number in a box, with a signed change below it in green or red, and what the change is."""
    st.metric(label, value, change, delta_description=change and what, border=True, height="stretch")


def ensemble_cards(ensemble: data.Ensemble) -> None:
    """What to submit, and four cards: MAP in sample and cross-validated, and the gains over the two baselines."""
    if words := data.recommendation(ensemble):
        st.info(words, icon=":material/lightbulb:")
    fused = ensemble.score(metrics.map_of(metrics.ENSEMBLE))
    honest = ensemble.score(metrics.cross_validated(metrics.ENSEMBLE))
    low, high = ensemble.score(metrics.low(metrics.ENSEMBLE)), ensemble.score(metrics.high(metrics.ENSEMBLE))
    interval = None if low is None or high is None else f"95 % interval {number(low)} to {number(high)}"
    first, second, third, fourth = st.columns(4)
    with first:
        card("MAP@100K, in sample (optimistic)", number(fused), interval)
    with second:
        card("MAP@100K, cross-validated", number(honest), "chosen and scored on different videos")
    for place, label, rival in (
        (third, "Gain over equal weights", metrics.EQUAL_WEIGHTS),
        (fourth, "Gain over the best member", metrics.BEST_MEMBER),
    ):
        with place:
            in_sample = gain(fused, ensemble.score(metrics.map_of(rival)))
            held_out = gain(honest, ensemble.score(metrics.cross_validated(rival)))
            change_card(label, in_sample or "–", held_out, "cross-validated")
    if words := data.gain_interval(ensemble):
        st.caption(words)


@contextmanager
def helpful() -> Iterator[None]:
    """Show an error of the store or of an artifact as a sentence on the page; other errors are defects and raised."""
    try:
        yield
    except (RuntimeError, ValueError, OSError, pl.exceptions.PolarsError) as problem:
        st.error(
            f"This page cannot be shown: {plain(str(problem))}. It tries again when it is reloaded.",
            icon=":material/error:",
        )


def show_chart(chart: Chart, alt: str) -> None:
    """A chart, with buttons below it that download it as SVG and PNG; `alt` says in words what it shows."""
    name = file_name(alt)
    forms: dict[str, tuple[Callable[[], str | bytes], str]] = {
        "SVG": (lambda: svg(chart), "image/svg+xml"),
        "PNG": (lambda: png(chart), "image/png"),
    }
    whole = st.container(gap=None)
    whole.altair_chart(chart, alt=alt)
    with whole.container(horizontal=True, horizontal_alignment="right", gap="small"):
        for form, (draw, mime) in forms.items():
            st.download_button(
                form,
                draw,  # called when the button is pressed
                f"{name}.{form.lower()}",
                mime,
                key=f"{form} of {alt}",
                on_click="ignore",
                type="tertiary",
                icon=":material/download:",
                help=f"Download this chart as {form}",
            )


def show_table(
    table: pl.DataFrame,
    columns: Mapping[str, str | ColumnConfig],
    *,
    name: str,
    alt: str,
    placeholder: str = "–",
    height: int | Literal["auto"] = "auto",
) -> None:
    """A table, with a button below it that opens it as text to copy.

    Args:
        table: The table. Links (the column `url`) are not copied.
        columns: Its columns as Streamlit shows them; one that is missing has its name for a title.
        name: The name of the file to download, without its suffix.
        alt: What the table shows, in words.
        placeholder: The text of a cell without a value.
        height: In pixels, or as many rows as fit.
    """
    st.dataframe(
        tables.without_minus_zero(table),
        hide_index=True,
        height=height,
        placeholder=placeholder,
        alt=alt,
        column_config=dict(columns),
    )
    copy_table(table, {column: _title(column, columns) for column in table.columns if column != "url"}, name)


def _title(column: str, columns: Mapping[str, str | ColumnConfig]) -> str:
    title = columns.get(column, column)
    return title if isinstance(title, str) else title.get("label") or column


def copy_table(table: pl.DataFrame, titles: Mapping[str, str], name: str) -> None:
    """A button that opens the table as text to copy; `titles` has the columns to show, `name` is that of the file."""
    popover = st.popover(
        "Copy as CSV, Markdown or LaTeX",
        type="tertiary",
        icon=":material/content_copy:",
        key=f"copy {name}",
        on_change="rerun",  # so that the texts are made only when it is open
    )
    if not popover.open:
        return
    forms = {
        "CSV": (tables.as_csv(table.select(*titles)), "csv"),
        "Markdown": (tables.as_markdown(table, titles), "md"),
        "LaTeX": (tables.as_latex(table, titles), "tex"),
    }
    with popover:
        for tab, (form, (text, suffix)) in zip(st.tabs(list(forms)), forms.items(), strict=True):
            with tab:
                st.code(text, language=None, height=240)
                st.download_button(f"Download {form}", text, f"{name}.{suffix}", key=f"{name}.{suffix}")


def show_run_command(line_up: data.LineUp, *flags: str) -> None:
    """The command that takes the line-up through what it lacks."""
    st.code(" ".join(["python -m training run --lineup", line_up.name, "--data DIR", *flags]), language="bash")


def show_troubles(line_up: data.LineUp) -> None:
    """A warning per stage that failed or was stopped, with the reason and a link to the run."""
    for owner, run in data.troubles(line_up):
        verb = "failed in" if run.status == "FAILED" else "was stopped in"
        st.warning(
            f"**{plain(owner)}** {verb} {data.stage_name(run)}: {plain(data.error(run))}. "
            f"[Open the run]({data.mlflow_url(run)}), or type the command again: finished stages are not repeated.",
            icon=":material/warning:",
        )


def plain(text: str) -> str:
    """Escape Markdown and HTML in a name, a tag or an error message, which may contain `*`, `[0]` or `$HOME`."""
    return re.sub(r"([\\`*_\[\]$<>#~:|&])", r"\\\1", text)


def show_provenance(line_up: data.LineUp) -> None:
    """The data, code and seeds of the runs; a warning if the members were trained on different data."""
    table = data.provenance(line_up)
    if table.filter(~table["data"].is_in(["unknown"]))["data"].n_unique() > 1:
        st.warning(
            "The runs of this line-up used **different versions of the data** (see below), so their scores are not "
            "comparable. Run the line-up again on one version.",
            icon=":material/warning:",
        )
    with st.expander("Where these numbers come from"):
        show_table(
            table,
            {
                "name": "Run of",
                "data": st.column_config.TextColumn(
                    "Data (digest)", help="Frames, labels, splits and judgments together"
                ),
                "commit": "Code (commit)",
                "seed": "Seed",
                "finished": st.column_config.DatetimeColumn("Finished (UTC)", format="YYYY-MM-DD HH:mm"),
                "url": st.column_config.LinkColumn("MLflow", display_text="open", width="small"),
            },
            name="provenance",
            alt="Data, code and seeds of every run",
        )
        st.caption(
            f"Dataset {plain(line_up.dataset)}, line-up {plain(line_up.name)}. "
            "Links need a running MLflow UI (`make ui`)."
        )
