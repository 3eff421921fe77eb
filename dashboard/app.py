"""The dashboard: `streamlit run dashboard/app.py` from any folder. Selects a line-up, then shows a page."""

import os
import sys
from pathlib import Path

import streamlit as st

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # Streamlit adds only the folder of this file
    sys.path.insert(0, str(ROOT))

from dashboard import chosen, claims, parts  # noqa: E402


def main() -> None:
    # A server that is away is reported within seconds; MLflow's own seven retries take minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    st.set_page_config(page_title="Segment ensembles", page_icon="🎯", layout="wide")
    is_chosen = has_claims = False
    with parts.helpful():  # first, since the pages depend on it
        is_chosen = chosen.choose()
        has_claims = is_chosen and claims.has_published(chosen.line_up())
    overview = st.Page(ROOT / "dashboard/views/overview.py", title="Overview", url_path="overview")

    def home() -> None:
        """The address without a page leads to the first one: Streamlit gives its default page no address of its own."""
        st.switch_page(overview, query_params=st.query_params.to_dict())

    pages = [
        st.Page(home, title="Home", default=True, visibility="hidden"),
        overview,
        st.Page(ROOT / "dashboard/views/members.py", title="Members", url_path="members"),
        st.Page(ROOT / "dashboard/views/member.py", title="Member", url_path="member"),
        st.Page(ROOT / "dashboard/views/compare.py", title="Compare", url_path="compare"),
        st.Page(ROOT / "dashboard/views/ensemble.py", title="Ensemble", url_path="ensemble"),
        st.Page(ROOT / "dashboard/views/what_if.py", title="What if", url_path="what_if"),
        st.Page(ROOT / "dashboard/views/lost.py", title="What is lost", url_path="lost"),
        st.Page(ROOT / "dashboard/views/segments.py", title="Segments", url_path="segments"),
        st.Page(
            ROOT / "dashboard/views/claims.py",
            title="Claims",
            url_path="claims",
            visibility="visible" if has_claims else "hidden",
        ),
    ]
    page = st.navigation(pages, position="top")
    if is_chosen:
        with parts.helpful():
            page.run()


if __name__ == "__main__":
    main()
