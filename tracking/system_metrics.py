"""Processor, memory, disk, network and GPU of the machine that a run is on, as its metrics `system/*`."""

from collections.abc import Iterator
from contextlib import contextmanager

from tracking.outbox import LOCAL
from tracking.store import quieten, tracking_uri
from tracking.writing import Run

SECONDS = 60  # between two points


@contextmanager
def system_metrics(run: Run) -> Iterator[None]:
    """Log them every minute within the block, if the store answers when it begins; MLflow's thread does it."""
    if run.run_id.startswith(LOCAL):
        yield
        return
    quieten()
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(
        run.run_id, sampling_interval=SECONDS, resume_logging=True, tracking_uri=tracking_uri()
    )
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()
