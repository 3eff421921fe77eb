"""`python -m tracking ui`: the MLflow UI of the store, and the address of each dataset's runs in it."""

import os
import sys

from tracking import views
from tracking.store import client, tracking_uri, ui_address


def ui(port: int = 5000) -> None:
    """Start the MLflow UI on the store, on 127.0.0.1 only, and print the address of each dataset's runs.

    A tracking server (MLFLOW_TRACKING_URI) has its own UI: its addresses are printed alone.

    Args:
        port: Port of the UI.
    """
    uri = tracking_uri()
    is_server = uri.startswith("http")
    address = ui_address() if is_server else f"http://127.0.0.1:{port}"
    for experiment in client().search_experiments():
        if views.KIND in experiment.tags:  # not MLflow's own, which is empty
            print(f"{experiment.name}: {address}/{views.address(experiment.experiment_id, 'members')}")
    if is_server:
        return
    sys.stdout.flush()
    settings = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = [sys.executable, "-m", "mlflow", "ui", "--workers", "1", "--port", str(port), "--backend-store-uri", uri]
    os.execve(sys.executable, command, {**os.environ, **settings})
