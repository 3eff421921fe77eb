"""Commands of the dashboard: `python -m dashboard report`. The pages themselves: `streamlit run dashboard/app.py`."""

import logging
from pathlib import Path

from terminal.cli import main, typed

PROGRAM = "python -m dashboard"
log = logging.getLogger(__name__)


def report(dataset: str, lineup: str, out: Path) -> None:
    """Write a line-up's scores, tables and charts to one HTML file that needs no server.

    Args:
        dataset: The dataset (experiment) of the line-up.
        lineup: The line-up.
        out: The HTML file to write; an existing one is replaced.
    """
    from streamlit.logger import set_log_level

    from dashboard import data
    from dashboard.report import report as written
    from files.replacing import replacing
    from tracking.runs import line_ups

    set_log_level("ERROR")  # the pages' caches also work without a server, but warn of it
    known = line_ups()
    if lineup not in known.get(dataset, []):
        there = ", ".join(f"{name}: {' '.join(lineups)}" for name, lineups in known.items()) or "none"
        raise ValueError(f"the store has no line-up {lineup} on {dataset}; it has {there}")
    html = written(data.line_up(dataset, lineup), command=typed(PROGRAM))
    with replacing(out) as temporary:
        temporary.write_text(html)
    log.info("written: %s", out)


if __name__ == "__main__":
    main({"report": report}, prog=PROGRAM, description=__doc__ or "")
