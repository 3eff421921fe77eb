"""The page of one member: its learning curves, shifts, classes, and the runs it is made of."""

import polars as pl
import streamlit as st

from dashboard import charts, class_charts, contrast, data, logged_histories, member
from dashboard.chosen import line_up
from dashboard.class_names import named
from dashboard.evidence import evidence_for_page
from dashboard.parts import card, gain, number, plain, show_chart, show_table, show_troubles
from tracking import metrics
from tracking.runs import PARAMETERS


def show(lineup: data.LineUp) -> None:
    st.title("Member")
    if not lineup.members:
        st.info("This line-up has no members yet.")
        return
    names = [member.name for member in lineup.members]
    name = st.selectbox("Member", names, key="member", bind="query-params")
    subject = next(member for member in lineup.members if member.name == name)
    st.caption(f"State: {plain(subject.state)}. [Open it in the MLflow UI]({data.mlflow_url(subject.run)}).")
    show_troubles(data.LineUp(lineup.dataset, lineup.name, (subject,), None))
    _headline(subject)
    _curves(subject)
    _classes(lineup, subject)
    st.subheader("Where it comes from")
    show_table(
        member.lineage(subject),
        {
            "stage": "Stage",
            "run": "Run",
            "state": "State",
            "built_on": st.column_config.TextColumn("Built on", help="The runs it starts from"),
            "data": "Data (digest)",
            "commit": "Code (commit)",
            "seconds": st.column_config.NumberColumn("Seconds", format="localized"),
            "finished": st.column_config.DatetimeColumn("Finished (UTC)", format="YYYY-MM-DD HH:mm"),
            "url": st.column_config.LinkColumn("MLflow", display_text="open", width="small"),
        },
        name="lineage",
        alt="The runs of this member",
    )


def _headline(subject: data.Member) -> None:
    runs = member.training_runs(subject)
    unshifted = subject.shifts.get(0)
    merged = gain(subject.merged, unshifted)
    merging = merged and f"{merged} by merging shifts"
    if list(subject.shifts) == [0]:
        merging = "it predicts without shifts"
    size = next((run.params[PARAMETERS] for run in reversed(runs) if run.params.get(PARAMETERS, "").isdigit()), None)
    first, second, third, fourth = st.columns(4)
    with first:
        card("Pre-trained, MAP@100K", number(subject.pretrained), subject.framework or None)
    with second:
        card("Fine-tuned, MAP@100K", number(subject.finetuned), f"{int(size):,} parameters" if size else None)
    with third:
        card("Shifts merged, MAP@100K", number(subject.merged), merging)
    with fourth:
        card("Weight in the ensemble", "–" if subject.weight is None else f"{subject.weight:.1%}")


def _curves(subject: data.Member) -> None:
    runs = member.training_runs(subject)
    curves = pl.concat([member.curve(run, logged_histories.histories(run)) for run in runs]) if runs else None
    if curves is None or curves.is_empty():
        st.info("No learning curve has been logged yet.")
        return
    kept = runs[-1].metrics.get(metrics.CHOSEN_STEP)
    for place, measure in zip(st.columns(2, gap="medium"), ("MAP on the holdout", "loss"), strict=True):
        if measure in curves["measure"]:
            with place:
                chart = class_charts.learning(curves, measure, chosen=None if kept is None else int(kept))
                show_chart(chart, alt=f"{measure} over the steps of training")


def _classes(lineup: data.LineUp, subject: data.Member) -> None:
    left, right = st.columns(2, gap="medium")
    with left:
        if (shifts := data.shift_scores(data.LineUp("", "", (subject,), None))).is_empty():
            st.info("This member has no predictions under shifts yet.")
        elif len(subject.shifts) == 1:
            st.info("This member predicts under one shift only, so there is nothing to merge.")
        else:
            show_chart(class_charts.shifts(shifts), alt="MAP under each shift")
    with right:
        measured = evidence_for_page(lineup)
        if measured is None:
            return
        if subject.name not in measured.members:
            st.info("This member was not measured with the others yet.", icon=":material/info:")
            return
        classes = named(contrast.class_scores(measured.pairs, subject.name), measured.labels)
        colour = charts.member_colours(member.name for member in lineup.members)[subject.name]
        show_chart(class_charts.positives(classes, colour), alt="AP of each class by its positives")
    hardest, easiest = member.extremes(classes)
    for place, title, table in zip(
        st.columns(2, gap="medium"), ("Hardest classes", "Easiest classes"), (hardest, easiest), strict=True
    ):
        with place:
            st.subheader(title)
            show_table(table, CLASSES, name=title.lower().replace(" ", "-"), alt=title)


CLASSES = {
    "class_id": "Class",
    "ap": st.column_config.NumberColumn("AP@100K", format="%.4f"),
    "positives": "Positives",
}

if __name__ == "__main__":
    show(line_up())
