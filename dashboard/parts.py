"""Parts of several pages: formatted numbers, warnings about failed stages, and the provenance of the numbers."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import polars as pl
import streamlit as st

from dashboard import data, tables
from tracking import metrics


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def signed(change: float) -> str:
    return f"{change:+.4f}".replace("-", "−")


def gain(value: float | None, base: float | None) -> str | None:
    """The signed difference of two scores, None if one is missing."""
    return None if value is None or base is None else f"{value - base:+.4f}"


def card(label: str, value: str, note: str | None = None) -> None:
    """A number in a box, with a note below it."""
    st.metric(label, value, note, delta_color="off", delta_arrow="off", border=True, height="stretch")


def change_card(label: str, value: str, change: str | None, what: str) -> None:
    """A number in a box, with a signed change below it in green or red, and what the change is."""
    st.metric(label, value, change, delta_description=change and what, border=True, height="stretch")


def ensemble_cards(ensemble: data.Ensemble) -> None:
    """Four cards: MAP of the ensemble in sample and cross-validated, and its gains over its two baselines."""
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


def copy_table(table: pl.DataFrame, titles: Mapping[str, str], name: str) -> None:
    """A button that opens the table as text to copy; `titles` has the columns to show, `name` is that of the file."""
    with st.popover("Copy as CSV, Markdown or LaTeX", icon=":material/content_copy:"):
        forms = {
            "CSV": (tables.as_csv(table), "csv"),
            "Markdown": (tables.as_markdown(table, titles), "md"),
            "LaTeX": (tables.as_latex(table, titles), "tex"),
        }
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
        st.dataframe(
            table,
            hide_index=True,
            alt="Data, code and seeds of every run",
            column_config={
                "name": st.column_config.TextColumn("Run of"),
                "data": st.column_config.TextColumn(
                    "Data (digest)", help="Frames, labels, splits and judgments together"
                ),
                "commit": st.column_config.TextColumn("Code (commit)"),
                "seed": st.column_config.TextColumn("Seed"),
                "finished": st.column_config.DatetimeColumn("Finished", format="YYYY-MM-DD HH:mm"),
                "url": st.column_config.LinkColumn("MLflow", display_text="open"),
            },
        )
        st.caption(
            f"Dataset {plain(line_up.dataset)}, line-up {plain(line_up.name)}. "
            "Links need a running MLflow UI (`make ui`)."
        )
