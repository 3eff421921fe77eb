"""The page of the members: MAP after each stage and under each shift."""

from statistics import mean

import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from dashboard import charts, data
from dashboard.chosen import line_up
from dashboard.parts import card, change_card, gain, number, show_provenance, show_troubles, signed
from tracking import metrics


def show(lineup: data.LineUp) -> None:
    st.title("Members")
    st.caption(
        "How well each model of the ensemble ranks the segments of videos that were not trained on (the holdout). "
        "Scores are MAP@100K: 1 is perfect, higher is better."
    )
    show_troubles(lineup)
    _headline(lineup)
    _table(lineup)
    left, right = st.columns(2, gap="medium")
    with left:
        st.subheader("Stage by stage")
        st.caption("After video labels (pre-trained), after rated segments (fine-tuned), and with all shifts merged.")
        if (scores := data.stage_scores(lineup)).is_empty():
            st.info("No stage has a score yet.")
        else:
            st.altair_chart(charts.stages(scores), alt="MAP of each member after each stage")
    with right:
        st.subheader("Shift by shift")
        st.caption("The window moved by some frames: blue is better than without a shift, orange is worse.")
        if (scores := data.shift_scores(lineup)).is_empty():
            st.info("No member has predictions under shifts yet.")
        else:
            st.altair_chart(charts.shifts(scores), alt="MAP of each member under each shift")
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


def _table(lineup: data.LineUp) -> None:
    st.dataframe(
        data.leaderboard(lineup),
        hide_index=True,
        placeholder="–",
        alt="Leaderboard of members",
        column_config={
            "member": st.column_config.TextColumn("Member"),
            "framework": st.column_config.TextColumn("Framework"),
            "pretrained": _score("Pre-trained", "After learning from the labels of whole videos"),
            "finetuned": _score("Fine-tuned", "After learning from rated segments"),
            "merged": _score("Shifts merged", "The ranked lists under all its shifts fused into one"),
            "weight": st.column_config.ProgressColumn("Weight", format="percent", min_value=0.0, max_value=1.0),
            "state": st.column_config.TextColumn("State"),
            "url": st.column_config.LinkColumn("MLflow", display_text="open", width="small"),
        },
    )


def _score(title: str, explained: str) -> ColumnConfig:
    return st.column_config.NumberColumn(title, help=explained, format="%.4f", width="small")


if __name__ == "__main__":
    show(line_up())
