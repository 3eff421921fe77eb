"""Learning curves are read again when their run has gone on."""

import streamlit as st

from dashboard.logged_histories import histories
from tracking import metrics
from tracking.runs import find_run
from tracking.store import client
from tracking.writing import open_run


def test_the_curve_of_a_stage_that_went_on_is_read_again(store: str) -> None:
    st.cache_data.clear()
    with open_run("synthetic", "finetune", {"stage": "finetune"}) as run:
        run.metrics({metrics.MAP: 0.4}, 10)
    before = find_run("synthetic", stage="finetune")
    assert histories(before)[metrics.MAP]["step"].to_list() == [10]
    client().update_run(run.run_id, status="RUNNING")
    client().log_metric(run.run_id, metrics.MAP, 0.6, step=20)
    client().set_terminated(run.run_id, "FINISHED", end_time=int(1000 * before.start.timestamp()) + 60_000)
    after = find_run("synthetic", stage="finetune")
    assert after.run_id == before.run_id
    assert histories(after)[metrics.MAP]["step"].to_list() == [10, 20]
