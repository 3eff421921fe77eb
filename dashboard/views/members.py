"""The page of the members: a leaderboard with what is told apart, differences to a reference, settings, and charts."""

from collections.abc import Sequence
from statistics import mean

import polars as pl
import polars.selectors as cs
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from dashboard import charts, data, leaderboard
from dashboard.chosen import line_up
from dashboard.evidence import Evidence, evidence_for_page
from dashboard.parts import (
    card,
    change_card,
    copy_table,
    gain,
    number,
    plain,
    show_chart,
    show_provenance,
    show_table,
    show_troubles,
)
from dashboard.tables import signed
from tracking import metrics

NONE = "no reference"
# The columns of the two tables, which fit 1280 pixels.
STANDING = (
    "member",
    "group",
    "map",
    "low",
    "high",
    "p",
    "spread",
    "published",
    "weight",
    "leave_one_out",
    "judged_10",
    "judged_100",
    "judged_1000",
)
TRAINING = (
    "member",
    "pretrained",
    "finetuned",
    "merged",
    "best_step",
    "steps",
    "seconds",
    "parameters",
    "framework",
    "state",
    "url",
)


def show(lineup: data.LineUp) -> None:
    st.title("Members")
    st.caption(
        "How well each model of the ensemble ranks the segments of videos that were not trained on (the holdout). "
        "Scores are MAP@100K: 1 is perfect, higher is better."
    )
    show_troubles(lineup)
    _headline(lineup)
    _board(lineup, evidence_for_page(lineup))
    _settings(lineup)
    left, right = st.columns(2, gap="medium")
    with left:
        if (scores := data.stage_scores(lineup)).is_empty():
            st.info("No stage has a score yet.")
        else:
            show_chart(charts.stages(scores), alt="MAP of each member after each stage")
    with right:
        if (scores := data.shift_scores(lineup)).is_empty():
            st.info("No member has predictions under shifts yet.")
        else:
            show_chart(charts.shifts(scores), alt="MAP of each member under each shift")
    show_provenance(lineup)


def _headline(lineup: data.LineUp) -> None:
    scored = [member for member in lineup.members if member.best is not None]
    finetuning = [m.finetuned - m.pretrained for m in scored if m.finetuned is not None and m.pretrained is not None]
    shifting = [m.merged - m.shifts[0] for m in scored if m.merged is not None and len(m.shifts) > 1 and 0 in m.shifts]
    ensemble = lineup.ensemble.score(metrics.map_of(metrics.ENSEMBLE)) if lineup.ensemble else None
    best = scored[0] if scored else None
    top = best.best if best else None
    first, second, third, fourth = st.columns(4)
    with first:
        card("Best member", number(top), best.name if best else None)
    with second:
        _mean_card("Fine-tuning adds", finetuning)
    with third:
        _mean_card("Shifts add", shifting)
    with fourth:
        change_card("Ensemble", number(ensemble), gain(ensemble, top), "over the best member")


def _mean_card(label: str, gains: list[float]) -> None:
    note = f"mean of {len(gains)} members" if len(gains) > 1 else "one member"
    card(label, signed(mean(gains)) if gains else "–", note if gains else None)


def _board(lineup: data.LineUp, measured: Evidence | None) -> None:
    names = sorted(member.name for member in lineup.members)
    first, second, third = st.columns([3, 3, 2], vertical_alignment="bottom")
    with first:
        reference = st.selectbox("Show differences to", [NONE, *names], key="reference", bind="query-params")
    with second:
        wanted = st.text_input("Only members whose name has", key="filter", bind="query-params") or ""
    with third:
        averaged = st.toggle("Average seeds", key="seeds", bind="query-params", disabled=reference != NONE)
    board = leaderboard.table(
        lineup,
        pairs=measured.pairs if measured else None,
        resampled=measured.standing if measured else None,
        similar=measured.similar if measured else None,
    )
    listed, compared = board, None
    if reference != NONE:
        compared = leaderboard.against(board, reference, measured.standing if measured else None)
        listed = compared
    elif averaged:
        listed = leaderboard.by_seed(board, leaderboard.all_settings(lineup))
    listed = listed.filter(pl.col("member").str.to_lowercase().str.contains(wanted.lower(), literal=True))
    if listed.is_empty():
        st.info("No member has this in its name.")
        return
    _answer(listed, reference, measured)
    _table(listed, STANDING, is_difference=compared is not None, name="members", alt="Leaderboard of members")
    _notes(listed, reference)
    colours = charts.member_colours(names)
    if compared is not None and not compared["low"].is_null().all():
        show_chart(
            charts.differences(compared.filter(pl.col("member") != reference), reference, colours),
            alt=f"MAP of each member minus that of {reference}",
        )
    elif compared is None and not averaged and not board["map"].is_null().all():
        scores = listed.select("member", "map", "low", "high").drop_nulls("map")
        show_chart(charts.members(scores, colours), alt="MAP of each member with its interval")
    st.subheader("Training")
    _table(listed, TRAINING, is_difference=compared is not None, name="training", alt="How each member was trained")


def _table(listed: pl.DataFrame, names: Sequence[str], *, is_difference: bool, name: str, alt: str) -> None:
    """Those of the columns `names` that have a value, and the same as text to copy."""
    filled = [column for column in names if column in listed.columns and listed[column].null_count() < listed.height]
    st.dataframe(
        listed.select(filled).with_columns(
            cs.by_name("weight", require_all=False) * 100, cs.by_name("seconds", require_all=False).round()
        ),
        hide_index=True,
        placeholder="–",
        alt=alt,
        column_config=_columns(is_difference=is_difference),
    )
    copy_table(listed, {column: leaderboard.TITLES[column] for column in filled if column in leaderboard.TITLES}, name)


def _answer(listed: pl.DataFrame, reference: str, measured: Evidence | None) -> None:
    """Which members are best, or what the numbers are compared with, in a sentence above the table."""
    if measured and reference == NONE and "a" in "".join(listed["group"].drop_nulls()):
        tied = listed.filter(pl.col("group").str.contains("a"))["member"].to_list()
        rest = [name for name in tied if name != measured.standing.best]
        words = f"**{plain(measured.standing.best)}** has the highest MAP"
        words += f"; not told apart from it: {plain(', '.join(rest))}." if rest else ", told apart from all others."
        st.caption(
            f"{words} Members that share a letter (column Ties) cannot be told apart on these videos: paired by video, "
            "5 %, Holm-corrected for all pairs."
        )
    if reference != NONE:
        st.caption(
            f"MAP, Judged and seconds are those of the member minus those of **{plain(reference)}**; + is more. "
            "Weights and settings are the member's own."
        )


def _notes(listed: pl.DataFrame, reference: str) -> None:
    """What the table cannot say: why members are not needed, and which lists cannot be compared."""
    reasons = listed.drop_nulls("why").select("member", "why").rows()
    if reasons:
        lines = "\n".join(f"- **{plain(member)}**: {plain(why)}." for member, why in reasons)
        st.markdown(f"Not needed in this ensemble:\n{lines}")
    judged = listed["judged_10"].drop_nulls()
    if reference == NONE and len(judged) and judged.min() < 0.5 * judged.max():  # pyright: ignore[reportOperatorIssue]
        st.warning(
            "The first ten segments of some members are mostly unjudged (Judged@10): their MAP rests on other segments "
            "than that of the rest, so compare it with care.",
            icon=":material/warning:",
        )
    if listed["published"].drop_nulls().len():
        st.caption("Published: private MAP@100K of the paper's own member on YouTube-8M, **another dataset**.")


def _settings(lineup: data.LineUp) -> None:
    names = [member.name for member in lineup.members]
    with st.expander("Settings: only what differs"):
        picked = st.multiselect("Members to compare", names, names[:3], key="picked", bind="query-params")
        if len(picked) < 2:
            st.info("Pick at least two members.")
            return
        table = leaderboard.differing(leaderboard.all_settings(lineup), picked)
        if table.is_empty():
            st.info("These members have the same settings.")
            return
        show_table(table, {"setting": "Setting"}, name="settings", alt="Settings in which these members differ")


def _columns(*, is_difference: bool) -> dict[str, ColumnConfig]:
    change = "%+.4f" if is_difference else "%.4f"

    def score(title: str, explained: str, form: str = change) -> ColumnConfig:
        return st.column_config.NumberColumn(title, help=explained, format=form)

    share = "%+.2f" if is_difference else "%.2f"
    return {
        "member": st.column_config.TextColumn("Member", pinned=True),
        "group": st.column_config.TextColumn("Ties", help="Members that share a letter cannot be told apart"),
        "map": score("MAP@100K", "On the holdout, shifts merged; higher is better"),
        "low": score("from", "95 % interval over resampled videos"),
        "high": score("to", "95 % interval over resampled videos"),
        "p": score("p", "p-value of no difference to the reference, paired by video", "%.3f"),
        "spread": score("± seeds", "Standard deviation of MAP over the seeds", "%.4f"),
        "weight": st.column_config.ProgressColumn(
            "Weight", format="%.1f %%", min_value=0.0, max_value=100.0, width="small"
        ),
        "leave_one_out": score("Lost without it", "MAP of the ensemble minus its MAP without this member", "%+.4f"),
        "pretrained": score("Pre-trained", "After learning from the labels of whole videos"),
        "finetuned": score("Fine-tuned", "After learning from rated segments"),
        "merged": score("Shifts merged", "The ranked lists under all its shifts fused into one"),
        **{
            f"judged_{cutoff}": score(
                f"Judged@{cutoff:,}", f"Share of judged segments among the first {cutoff:,}", share
            )
            for cutoff in leaderboard.CUTOFFS
        },
        "best_step": st.column_config.NumberColumn("Best step", help="Of fine-tuning, by MAP on the holdout"),
        "steps": st.column_config.NumberColumn("of steps", help="Steps of fine-tuning (rounds of a booster)"),
        "seconds": score("Seconds", "Of all finished stages", "%+.0f" if is_difference else "localized"),
        "parameters": st.column_config.NumberColumn("Parameters", help="Trainable ones", format="compact"),
        "published": score("Published (YouTube-8M)", "Private MAP@100K in the paper: another dataset", "%.4f"),
        "framework": st.column_config.TextColumn("Framework"),
        "state": st.column_config.TextColumn("State"),
        "url": st.column_config.LinkColumn("MLflow", display_text="open", width="small"),
    }


if __name__ == "__main__":
    show(line_up())
