"""Tags that somebody changed or removed in the MLflow UI: pages and reading commands show what is left."""

from pathlib import Path

import pytest
import streamlit as st

from tests.dashboard.searched import EXPERIMENT, LINEUP
from tests.dashboard.test_pages import opened
from tests.dashboard.test_states import visited
from tracking import runs
from tracking.commands.export import export
from tracking.commands.lineage import lineage
from tracking.commands.reproduce import reproduce
from tracking.commands.status import status
from tracking.store import client

# Tags that are read. Runs are found by the first ones, of which a page shows less if they are gone; the others can go
# together, and twice, so that each is removed from each run.
FOUND_BY = ("dataset", "lineup", "member", "kind", "stage", "split")
SHOWN = ("framework", "config_digest", "data_digest", "commit", "dirty", "command", "pid", "boot", "published_map")
GONE = [*[((tag,), 0) for tag in FOUND_BY], (SHOWN, 0), (SHOWN, 1), (("outdated",), 0)]


@pytest.mark.slow
@pytest.mark.usefixtures("searched")
def test_a_tag_that_was_changed_or_removed_is_no_error_of_a_page_or_of_a_reading_command(tmp_path: Path) -> None:
    everything = runs.find_runs(finished=False)
    fused = runs.find_run(EXPERIMENT, stage="fuse", split="test")
    for tags, first in GONE:
        pairs = [(run, tag) for run in everything for tag in tags]
        for number, (run, tag) in enumerate(pairs, first):
            if number % 2:
                client().set_tag(run.run_id, tag, "changed")
            elif tag in run.tags:
                client().delete_tag(run.run_id, tag)
        st.cache_data.clear()
        app = opened(dataset=EXPERIMENT, lineup=LINEUP)
        for page in visited(app):
            assert not app.error, (tags, page, app.error)
        status()
        export(tmp_path / "runs.csv")
        lineage(fused.run_id)
        reproduce(fused.run_id)
        for run, tag in pairs:
            if tag in run.tags:
                client().set_tag(run.run_id, tag, run.tags[tag])
            elif tag in client().get_run(run.run_id).data.tags:
                client().delete_tag(run.run_id, tag)
