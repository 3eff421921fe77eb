"""Eight processes fill a store that none of them finds, while the dashboard reads it: nothing is lost or locked."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import streamlit as st

from tests.dashboard.test_pages import opened
from tracking.registry import best_version, versions
from tracking.runs import find_runs, metric_history
from tracking.store import ROOT

WRITERS, RUNS, STEPS = 8, 3, 20
WRITER = f"""
import sys, time
from dataclasses import asdict
from pathlib import Path
from tracking.registry import Registered
from tracking.store import quieten
from tracking.writing import open_parent, open_run

quieten()
from mlflow.models import Model

number, folder = sys.argv[1], Path(sys.argv[2])
model = folder / number
model.mkdir()
Model().save(str(model / "MLmodel"))
(folder / f"{{number}}.ready").touch()
while not (folder / "go").exists():
    time.sleep(0.001)
tags = {{"kind": "member", "dataset": "synthetic", "lineup": "eight", "member": number}}
with open_parent("synthetic", number, tags) as parent:
    for count in range({RUNS}):
        with open_run("synthetic", f"{{number}} {{count}}", {{"stage": "finetune"}}, parent.run_id) as run:
            run.params({{"number": number, "count": count}})
            for step in range({STEPS}):
                run.metrics({{"loss": 1 / (1 + step)}}, step)
                run.flush()
            run.text(f"{{number}} {{count}}", "notes/text.txt")
            registered = asdict(Registered(name="synthetic.eight.all", about="", note=""))
            values = {{"path": str(model), "name": "all", "params": {{}}, "tags": {{}}, "metrics": {{"map": 0.5}}}}
            run.write("model", **values, registered=registered)
"""


@pytest.mark.slow
def test_eight_writers_fill_a_new_store_while_the_dashboard_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'fresh' / 'mlflow.db'}")
    command = [sys.executable, "-c", WRITER]
    writers = [
        subprocess.Popen([*command, str(number), str(tmp_path)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for number in range(WRITERS)
    ]
    while len(list(tmp_path.glob("*.ready"))) < WRITERS:
        assert all(writer.poll() is None for writer in writers)
        time.sleep(0.05)
    (tmp_path / "go").touch()
    titles = set()
    while any(writer.poll() is None for writer in writers):
        st.cache_data.clear()
        app = opened()
        assert not app.error, app.error
        titles |= {title.value for title in app.title}
    assert titles == {"Nothing has run yet", "Overview"}
    assert [(writer.returncode, writer.communicate()[1]) for writer in writers] == [(0, "")] * WRITERS

    names = {f"{number} {count}" for number in range(WRITERS) for count in range(RUNS)}
    runs = {run.name: run for run in find_runs("synthetic", stage="finetune")}
    assert runs.keys() == names
    assert {run.tags["member"] for run in find_runs("synthetic", kind="member")} == {str(n) for n in range(WRITERS)}
    for name, run in runs.items():
        assert f"{run.params['number']} {run.params['count']}" == name == run.artifact("notes/text.txt").read_text()
        assert metric_history(run.run_id, "loss")["step"].to_list() == list(range(STEPS))
    made = versions("synthetic.eight.all")
    assert [int(version.number) for version in made] == list(range(len(names), 0, -1))
    assert {version.run_id for version in made} == {run.run_id for run in runs.values()}
    assert best_version("synthetic.eight.all") == made[-1]
