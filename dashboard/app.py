"""The dashboard: `streamlit run dashboard/app.py` from anywhere. Which line-up to look at, then the page."""

import sys
from pathlib import Path

import streamlit as st

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # Streamlit puts only the folder of this file there
    sys.path.insert(0, str(ROOT))

from dashboard import chosen  # noqa: E402


def main() -> None:
    st.set_page_config(page_title="Segment ensembles", page_icon="🎯", layout="wide")
    pages = [
        st.Page(ROOT / "dashboard/views/members.py", title="Members", url_path="members", default=True),
        st.Page(ROOT / "dashboard/views/ensemble.py", title="Ensemble", url_path="ensemble"),
    ]
    page = st.navigation(pages, position="top")
    if chosen.choose():
        page.run()


if __name__ == "__main__":
    main()
