"""A Streamlit dashboard over the tracked runs: members, shifts and ensemble weights."""
