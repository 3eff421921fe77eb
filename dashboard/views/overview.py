"""The first page: the ensemble's score, and what has finished, is running, waits or failed."""

from collections.abc import Sequence

import streamlit as st

from dashboard import charts, data, stages
from dashboard.chosen import SECONDS, line_up
from dashboard.parts import (
    card,
    ensemble_cards,
    helpful,
    number,
    plain,
    show_chart,
    show_provenance,
    show_run_command,
    show_table,
    show_troubles,
)


def show(lineup: data.LineUp) -> None:
    st.title("Overview")
    st.caption(f"Line-up **{plain(lineup.name)}** on the dataset **{plain(lineup.dataset)}**.")
    show_troubles(lineup)
    ensemble = lineup.ensemble if lineup.ensemble and lineup.ensemble.weights else None
    if ensemble:
        ensemble_cards(ensemble)
        st.caption(
            "MAP@100K on the holdout: 1 is perfect, higher is better. In sample: the weights were chosen on the same "
            "videos that score them. Cross-validated: chosen on half of the videos and scored on the other half."
        )
    else:
        _without_ensemble(lineup)
    left, right = st.columns(2, gap="medium")
    with left:
        if not (scores := data.member_scores(lineup)).is_empty():
            colours = charts.member_colours(member.name for member in lineup.members)
            show_chart(charts.members(scores, colours), alt="MAP of each member with its interval")
    with right:
        if ensemble:
            show_chart(charts.gains(data.comparison(ensemble)), alt="MAP of the ensemble and of its baselines")
    st.subheader("Work")
    _refreshed(data.stage_states(lineup))
    show_provenance(lineup)


def _without_ensemble(lineup: data.LineUp) -> None:
    best = next((member for member in lineup.members if member.best is not None), None)
    first, second = st.columns(2)
    with first:
        card("Best member, MAP@100K on the holdout", number(best.best if best else None), best.name if best else None)
    with second:
        card("Ensemble", "–", "its members have not been fused yet")
    st.caption("This command resumes where the last one ended:")
    show_run_command(lineup)


def _work(lineup: data.LineUp) -> None:
    rows, positions = stages.board(lineup), stages.running(lineup)
    counts = stages.counts(rows)
    order = (stages.RUNNING, stages.WAITING, "failed", "stopped", stages.STALE, stages.FINISHED)
    words = [f"{counts[state]} {state}" for state in order if state in counts]
    st.caption(f"Stages: {', '.join(words) or 'none'}. This page looks at the store every {SECONDS} seconds.")
    for position in positions:
        _progress(position)
    show_table(
        stages.table(rows, positions),
        {"owner": st.column_config.TextColumn("Member", pinned=True)},
        name="work",
        alt="State of each stage of each member and of the ensemble",
        placeholder="",
    )
    if not (late := rows.filter(rows["state"] == stages.STALE)).is_empty():
        _stale(late.select("owner", "stage", "why").rows())


def _progress(position: stages.Position) -> None:
    text = f"**{plain(position.owner)}** {plain(stages.position_text(position))}"
    if position.share is None:
        st.markdown(text)
    else:
        st.progress(position.share, text)


def _stale(rows: Sequence[tuple[str, str, str]]) -> None:
    lines = [f"- **{plain(owner)}** {stage}: {plain(why)}" for owner, stage, why in rows]
    st.warning(
        "Stale results, which the next `python -m training run` makes anew:\n" + "\n".join(lines),
        icon=":material/history:",
    )


# Only the work is drawn again by itself: a click on a chart's download is lost if the chart is replaced meanwhile.
@st.fragment(run_every=SECONDS)
def _refreshed(drawn: data.StageStates) -> None:
    """The work, and the whole page again if a stage has begun or ended since `drawn`."""
    with helpful():
        lineup = line_up()
        if data.stage_states(lineup) != drawn:
            st.rerun()
        _work(lineup)


if __name__ == "__main__":
    show(line_up())
