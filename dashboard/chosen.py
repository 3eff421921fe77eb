"""The selected line-up: selected above the pages, stored in the page's address, read once for all sessions."""

import streamlit as st

from dashboard import data
from tracking import runs
from tracking.store import tracking_uri, without_password

SECONDS = 10  # for which an answer of the store is cached


def choose() -> bool:
    """Show the two selectors; False, with instructions on the page, if the store is empty or does not answer."""
    try:
        names = _line_ups(tracking_uri())
    except (RuntimeError, ValueError) as problem:
        st.error(f"The store of runs cannot be read: {problem}.")
        return False
    if not names:
        _welcome()
        return False
    left, right, _ = st.columns([2, 2, 5])
    with left:
        dataset = _select("Dataset", "dataset", list(names))
    with right:
        _select("Line-up", "lineup", names[dataset])
    return True


def line_up() -> data.LineUp:
    """The selected line-up."""
    return _line_up(tracking_uri(), st.session_state["dataset"], st.session_state["lineup"])


def _select(label: str, key: str, options: list[str]) -> str:
    """A selector that starts from the page's address and always writes its value there.

    Streamlit's `bind="query-params"` omits the first option from the address: a copied link would show another
    line-up as soon as there is a newer one.
    """
    if st.session_state.get(key) not in options:
        asked = st.query_params.get(key)
        st.session_state[key] = asked if asked in options else options[0]
    value = st.selectbox(label, options, key=key)
    st.query_params[key] = value
    return value


# `uri` is part of the cache's key.
@st.cache_data(ttl=SECONDS, show_spinner="Reading the store …")
def _line_ups(uri: str) -> dict[str, list[str]]:
    return runs.line_ups()


@st.cache_data(ttl=SECONDS, show_spinner="Reading the runs …")
def _line_up(uri: str, dataset: str, name: str) -> data.LineUp:
    return data.line_up(dataset, name)


def _welcome() -> None:
    st.title("Nothing has run yet")
    st.markdown(
        "This dashboard shows the scores of an ensemble's members and their fusion. "
        "The store has no runs yet. To fill it, type one of these:"
    )
    st.markdown("**A first look**, on generated data, in a few minutes:")
    st.code("make demo", language="bash")
    st.markdown("**AudioSet features** with time-stamped events, in about twenty minutes:")
    st.code("make audioset FEATURES=DIR", language="bash")
    st.markdown(
        "**YouTube-8M**, from Google's records to a fused submission: the paper's nine members, 220,000 steps each, "
        "which takes days on a GPU."
    )
    st.code(
        "python -m training ingest yt8m --shards 'yt8m/*/train*.tfrecord' 'yt8m/*/validate*.tfrecord' "
        "--test-shards 'yt8m/3/test*.tfrecord' --out data/yt8m\n"
        "python -m training run --lineup paper --data data/yt8m",
        language="bash",
    )
    st.markdown("Then reload this page; results appear as the stages finish.")
    st.caption(f"Store: {without_password(tracking_uri())}. Set MLFLOW_TRACKING_URI to use another one.")
