"""The line-up everybody looks at: chosen above the pages, kept in the address, read from the store once for all."""

import streamlit as st

from dashboard import data
from tracking.store import tracking_uri

SECONDS = 10  # how old what a page shows may be


def choose() -> bool:
    """The two selectors; False, with a page that says what to do, when the store is empty or does not answer."""
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
    """The line-up that is chosen."""
    return _line_up(tracking_uri(), st.session_state["dataset"], st.session_state["lineup"])


def _select(label: str, key: str, options: list[str]) -> str:
    """A selector that reads the address when a page is opened and always writes it.

    `bind="query-params"` leaves the first choice out of the address, so that a link would lead elsewhere as soon as a
    newer line-up has come.
    """
    if st.session_state.get(key) not in options:
        asked = st.query_params.get(key)
        st.session_state[key] = asked if asked in options else options[0]
    value = st.selectbox(label, options, key=key)
    st.query_params[key] = value
    return value


# The store's address is part of what identifies a cached answer.
@st.cache_data(ttl=SECONDS, show_spinner="Reading the store …")
def _line_ups(uri: str) -> dict[str, list[str]]:
    return data.line_ups()


@st.cache_data(ttl=SECONDS, show_spinner="Reading the runs …")
def _line_up(uri: str, dataset: str, name: str) -> data.LineUp:
    return data.line_up(dataset, name)


def _welcome() -> None:
    st.title("Nothing has run yet")
    st.markdown(
        "This dashboard shows how the members of an ensemble did and how they were fused. "
        "The store holds no runs so far. To fill it, type one of these:"
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
    st.markdown("Then come back and reload; results appear here while the stages finish.")
    st.caption(f"Store: {tracking_uri()}. Another one is named by MLFLOW_TRACKING_URI.")
