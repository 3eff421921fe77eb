"""The pages, one per file. Each shows the selected line-up; Streamlit runs it as a script."""
