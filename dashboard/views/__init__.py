"""The pages, one a file. Each shows the line-up chosen in `app.py`; Streamlit runs it as a script."""
