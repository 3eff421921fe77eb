"""The page What if: weights and k set by hand, with MAP, its interval and each class's change at once."""

import getpass

import polars as pl
import streamlit as st

from dashboard import choices, data, ensemble_charts, searches
from dashboard.choices import Choice
from dashboard.chosen import line_up
from dashboard.class_names import ClassId, class_labels, named
from dashboard.parts import card, number, plain, show_chart, show_run_command, show_table
from dashboard.tables import signed
from scoring.fusion.fusion import MEMBER_K
from scoring.weights.weights_json import Weights
from scoring.weights.what_if import Scored, class_changes
from tracking import metrics, runs
from tracking.runs import Record

LARGEST_DOWNLOAD = 200 * 2**20  # bytes; a larger file is named instead of read
KS = (0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 60.0, 100.0, 200.0, 500.0, 1000.0)
START = 0.5  # weight of a member that is switched on
EQUAL, CHOSEN = "equal weights", "the chosen weights"


def show(lineup: data.LineUp) -> None:
    st.title("What if")
    st.caption(
        "Set the weights yourself. Figures are MAP@100K on the holdout, computed from its judged pairs: higher is "
        "better. They flatter whoever tries long enough, since the same videos choose and score; cross-validated "
        "figures are on the page Ensemble."
    )
    search = searches.newest(lineup.dataset, lineup.name)
    if search is None:
        st.info("The weights of this line-up have not been searched yet, so no judged pairs are logged. This does it:")
        show_run_command(lineup)
        return
    try:
        prepared = searches.prepared(search)
    except ValueError as problem:
        st.info(f"The search of this line-up lacks what this page reads: {plain(str(problem))}.")
        return
    _explore(lineup, search, prepared)
    _saved(lineup)


@st.fragment
def _explore(lineup: data.LineUp, search: Record, prepared: searches.Prepared) -> None:
    left, right = st.columns([2, 3], gap="large")
    with left:
        choice = _controls(search, prepared)
        if shares := choice.shares:
            names = sorted({*prepared.what_if.members, *(member.name for member in lineup.members)})
            show_chart(ensemble_charts.shares(shares, names), alt="Share of each member")
    with right:
        if not any(choice.weights.values()):
            st.info("Give at least one member a weight above 0.")
            return
        scored = prepared.what_if.score(*choices.exact(choice, prepared.weights))
        _figures(scored, prepared)
        _classes(scored, prepared, class_labels(search))
    _save(lineup, search, choice, scored)


def _controls(search: Record, prepared: searches.Prepared) -> Choice:
    """The controls; they start from the address, else from the search's weights, and write the address."""
    members = prepared.what_if.members
    chosen = choices.scaled(prepared.weights.weights, prepared.weights.k)
    # Streamlit forgets a widget's value while another page is shown.
    if st.session_state.get("what_if_search") != search.run_id or "what_if_k" not in st.session_state:
        st.session_state["what_if_search"] = search.run_id
        _set(choices.from_address(st.query_params.to_dict(), members) or chosen, members)
    one, other = st.columns(2)
    equal = Choice(dict.fromkeys(members, 1.0), MEMBER_K)
    one.button("Chosen weights", on_click=_set, args=(chosen, members), width="stretch", key="to_chosen")
    other.button("Equal weights", on_click=_set, args=(equal, members), width="stretch", key="to_equal")
    weights = {}
    for member in members:
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            takes_part = st.checkbox(plain(member), key=f"on {member}", label_visibility="collapsed", width="content")
            weight = st.slider(plain(member), 0.0, 1.0, step=0.01, key=f"weight {member}", disabled=not takes_part)
        if takes_part:
            weights[member] = weight
    k = st.select_slider(
        "k, the constant of the fusion",
        sorted({*KS, MEMBER_K, chosen.k, st.session_state["what_if_k"]}),
        format_func=lambda k: f"{k:.4g}",
        key="what_if_k",
        help="The smaller k, the more the first ranks of each list count.",
    )
    choice = Choice(weights, k)
    st.query_params.update(choices.to_address(choice))
    return choice


def _set(choice: Choice, members: tuple[str, ...]) -> None:
    for member in members:
        st.session_state[f"on {member}"] = member in choice.weights
        st.session_state[f"weight {member}"] = choice.weights.get(member, START)
    st.session_state["what_if_k"] = choice.k


def _figures(scored: Scored, prepared: searches.Prepared) -> None:
    low, high = scored.resampled.interval
    first, second, third = st.columns(3)
    with first:
        card("MAP@100K, 95 % interval", number(scored.map), f"{number(low)} to {number(high)}")
    gains = []
    for place, name, other in ((second, EQUAL, prepared.equal), (third, CHOSEN, prepared.chosen)):
        gain = scored.resampled.over(other.resampled)
        gains.append(f"Against {name}: {choices.verdict(gain)}.")
        with place:
            card(f"Gain over {name}", signed(gain.map), f"which has {number(other.map)}")
    st.caption(" ".join(gains) + f" Intervals and p are paired by {prepared.unit}.")
    if not scored.is_exact:
        st.caption(
            f"Some positives are too near rank 100,000 to be decided without the full lists: the exact MAP is between "
            f"{number(scored.lowest)} and {number(scored.map)}. A saved ensemble is measured exactly."
        )


def _classes(scored: Scored, prepared: searches.Prepared, labels: dict[ClassId, str]) -> None:
    name = st.segmented_control("Classes against", [EQUAL, CHOSEN], default=EQUAL, key="what_if_against") or EQUAL
    changes = named(class_changes(scored, prepared.equal if name == EQUAL else prepared.chosen), labels)
    if (largest := choices.largest_changes(changes)).is_empty():
        st.info(f"No class changes against {name}.")
    else:
        show_chart(ensemble_charts.class_changes(largest, name), alt=f"Change of AP per class against {name}")
    with st.expander("All classes"):
        show_table(
            changes,
            {
                "class_id": "Class",
                "positives": "Positives",
                "ap": st.column_config.NumberColumn("AP", format="%.4f"),
                "other": st.column_config.NumberColumn(f"AP, {name}", format="%.4f"),
                "change": st.column_config.NumberColumn("Change", format="%+.4f"),
            },
            name="class-changes",
            alt="AP per class",
        )


def _save(lineup: data.LineUp, search: Record, choice: Choice, scored: Scored) -> None:
    with st.expander("Save as an ensemble, and fuse the test split with it", icon=":material/save:"):
        st.caption(
            "A run of its own in the store, with your name and reason. The holdout is fused and measured in full, then "
            "the test split if every member has predicted it. At full size this takes minutes."
        )
        with st.form("save", border=False):
            name = st.text_input("Name", max_chars=100, key="save_name")
            author = st.text_input("Who", value=_user(), max_chars=100, key="save_author")
            reason = st.text_input("Why", max_chars=1000, key="save_reason", placeholder="what you expect of it")
            if st.form_submit_button("Save and fuse", type="primary"):
                _store(lineup, search, choice, name=name, author=author, reason=reason, expected=scored.map)


def _store(
    lineup: data.LineUp, search: Record, choice: Choice, *, name: str, author: str, reason: str, expected: float
) -> None:
    from scoring.tracked import stages  # takes a second to load

    weights, k = choices.exact(choice, searches.weights(search))
    try:
        named = stages.Named(name=name.strip(), author=author.strip(), reason=reason.strip())
        with st.spinner("Fusing the holdout and the test split …"):
            fused = stages.save_ensemble(
                lineup.dataset,
                lineup.name,
                named=named,
                weights=Weights(k, weights),
                optimized=search.run_id,
            )
    except ValueError as problem:
        st.error(f"It was not saved: {plain(str(problem))}.", icon=":material/error:")
        return
    measured = fused[0].metrics.get(metrics.map_of(metrics.ENSEMBLE), expected)
    words = f"Saved as {plain(named.name)}: MAP {number(measured)} on the full lists of the holdout."
    if len(fused) == 1:
        words += " Not every member has predicted the test split, so there is no submission yet."
    st.session_state["what_if_saved"] = words
    st.rerun()


def _saved(lineup: data.LineUp) -> None:
    if words := st.session_state.pop("what_if_saved", None):
        st.success(words, icon=":material/check:")
    ensembles = searches.saved(lineup.dataset, lineup.name)
    if not ensembles:
        return
    st.subheader("Saved ensembles")
    table = pl.DataFrame(
        [
            {
                "name": run.tags.get(runs.ENSEMBLE, run.name),
                "map": run.metrics.get(metrics.map_of(metrics.ENSEMBLE)),
                "who": run.tags.get(runs.AUTHOR, ""),
                "why": run.tags.get(runs.REASON, ""),
                "when": run.start,
                "url": data.mlflow_url(run),
            }
            for run in ensembles
        ]
    )
    show_table(
        table,
        {
            "name": "Name",
            "map": st.column_config.NumberColumn("MAP on the holdout", format="%.4f"),
            "who": "Who",
            "why": "Why",
            "when": st.column_config.DatetimeColumn("Saved (UTC)", format="YYYY-MM-DD HH:mm"),
            "url": st.column_config.LinkColumn("MLflow", display_text="open", width="small"),
        },
        name="saved-ensembles",
        alt="Saved ensembles",
    )
    names = {run.tags.get(runs.ENSEMBLE, run.name): run for run in ensembles}
    name = st.selectbox("Submission of", list(names), key="what_if_download")
    _download(names[name])


def _download(parent: Record) -> None:
    fused = searches.fused(parent, "test")
    if fused is None:
        st.caption("Its test split has not been fused, so there is no submission.")
        return
    try:
        path = fused.artifact("submission.csv")
    except ValueError as problem:
        st.info(f"The submission cannot be read: {plain(str(problem))}.")
        return
    if path.stat().st_size > LARGEST_DOWNLOAD:
        st.caption("The submission is too large to send through a page. It is this file:")
        st.code(str(path), language=None)
        return
    st.download_button(
        "Download the submission (CSV)",
        path.read_bytes,
        file_name=f"{parent.tags[runs.ENSEMBLE]}.csv",
        mime="text/csv",
        on_click="ignore",
        icon=":material/download:",
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a name for its user
        return ""


if __name__ == "__main__":
    show(line_up())
