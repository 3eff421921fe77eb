"""The writes to the store: functions of a run's id and of JSON values, each without effect if repeated.

MLflow stores a metric once per run, name, value, step and time; tags, params, inputs and artifacts replace equal ones.
A run or model whose creation was answered by nothing is found again by its tag `key`.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tracking.registry import Registered, register
from tracking.runs import DATASET, ENSEMBLE, ERROR, KEY, KIND, LINEUP, MEMBER, find_runs
from tracking.sqlite_reading import is_active
from tracking.store import answers, client, experiment_id, sqlite_file, store_lock, uploading

BATCH = 1000  # metrics per call: the limit of a tracking server
IDENTITY = (DATASET, LINEUP, MEMBER, ENSEMBLE, KIND)  # tags by which a parent run is found

Point = Sequence[Any]  # a metric: name, value, milliseconds since 1970, step


def apply(run_id: str, operation: str, **values: Any) -> str | None:
    """Do an operation (a name in OPERATIONS) on a run; `Away` if the server does not answer."""
    with answers():
        return OPERATIONS[operation](run_id, **values)


def create_run(
    experiment: str, name: str, tags: Mapping[str, str], *, start: int | None = None, retry: bool = False
) -> str:
    """The id of a new run; with `retry` that of a run with the same tag `key`, if the store has one."""
    with answers():
        if retry and (known := find_runs(experiment, finished=False, **{KEY: tags[KEY]})):
            return known[0].run_id
        run = client().create_run(experiment_id(experiment), start_time=start, run_name=name, tags=dict(tags))
        return run.info.run_id


def open_parent_run(experiment: str, name: str, tags: Mapping[str, str], start: int | None = None) -> str:
    """The id of the run with the identity of `tags`, RUNNING again with these tags, or of a new one.

    Of several processes that create one at once, on one machine or several, all get the oldest.
    """
    identity = {key: tags[key] for key in IDENTITY if key in tags}
    with answers():
        client()  # takes the same lock when it opens the store
    with answers(), store_lock():
        if known := find_runs(experiment, finished=False, **identity):
            begin(known[0].run_id, tags)
            return known[0].run_id
        run_id = create_run(experiment, name, tags, start=start)
        oldest = min(find_runs(experiment, finished=False, **identity), key=lambda run: (run.start, run.run_id))
        if oldest.run_id != run_id:
            client().delete_run(run_id)
        return oldest.run_id


def exists(run_id: str) -> bool:
    """Whether the store has the run, not deleted; `Away` if it does not answer."""
    if (file := sqlite_file()) is not None:
        return is_active(file, run_id)
    from mlflow.exceptions import MlflowException

    with answers():
        try:
            return client().get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False


def begin(run_id: str, tags: Mapping[str, str]) -> None:
    """A run that has ended is RUNNING again, with these tags and without an error."""
    set_tags(run_id, tags)
    if ERROR in client().get_run(run_id).data.tags:
        client().delete_tag(run_id, ERROR)
    client().update_run(run_id, status="RUNNING")


def end(run_id: str, status: str, time: int) -> None:
    client().set_terminated(run_id, status, time)


def set_tags(run_id: str, values: Mapping[str, str]) -> None:
    from mlflow.entities import RunTag

    client().log_batch(run_id, tags=[RunTag(key, str(value)[:5000]) for key, value in values.items()])


def log_params(run_id: str, values: Mapping[str, str]) -> None:
    """Log settings; those that differ from an earlier process of the same run become tags, `resumed/<name>`."""
    from mlflow.entities import Param

    known = client().get_run(run_id).data.params
    params = [Param(key, value) for key, value in values.items() if key not in known]
    for start in range(0, len(params), 100):
        client().log_batch(run_id, params=params[start : start + 100])
    if changed := {f"resumed/{key}": value for key, value in values.items() if known.get(key, value) != value}:
        set_tags(run_id, changed)


def log_metrics(run_id: str, points: Sequence[Point]) -> None:
    from mlflow.entities import Metric

    metrics = [Metric(*point) for point in points]
    for start in range(0, len(metrics), BATCH):
        client().log_batch(run_id, metrics=metrics[start : start + BATCH])


def log_input(run_id: str, dataset: Mapping[str, str], context: str) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    tags = [InputTag("mlflow.data.context", context)]
    client().log_inputs(run_id, [DatasetInput(Dataset(**dataset), tags)])


def log_artifact(run_id: str, path: str, folder: str) -> None:
    """Log a file, or the content of a folder, under `folder` of the run's artifacts."""
    log = client().log_artifacts if Path(path).is_dir() else client().log_artifact
    with uploading():
        log(run_id, path, folder or None)


def log_saved_model(
    run_id: str,
    path: str,
    name: str,
    params: Mapping[str, str],
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
    registered: Mapping[str, Any] | None = None,
) -> str:
    """Log the MLflow model saved at `path`, linked to the run; returns its URI.

    `registered` are the fields of `tracking.registry.Registered`, if it is to be a version of a registered model.

    A model that an interrupted attempt left incomplete is deleted, one that it completed is kept.
    """
    from mlflow.entities import LoggedModelOutput, Metric
    from mlflow.models import Model
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    store = client()
    number = store.get_run(run_id).info.experiment_id
    logged = None
    for known in store.search_logged_models([number], f"source_run_id = '{run_id}'"):
        if known.name == name and known.status == "READY":
            logged = known
        elif known.name == name:
            store.delete_logged_model(known.model_id)
            if sqlite_file() is not None:  # MLflow keeps its files; those of a server are left to `mlflow gc`
                get_artifact_repository(known.artifact_location).delete_artifacts()
    if logged is None:
        logged = store.create_logged_model(
            experiment_id=number,
            name=name,
            source_run_id=run_id,
            params=dict(params),
            tags=dict(tags),
            model_type="segment-classifier",
        )
        # The steps of MLflow's own log_model, which only works on a process-wide active run.
        try:
            store.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
            description = Model.load(path)
            description.run_id, description.model_id = run_id, logged.model_id
            description.artifact_path = logged.artifact_location
            description.save(str(Path(path) / "MLmodel"))
            with uploading():
                store.log_model_artifacts(logged.model_id, path)
        except BaseException:
            store.finalize_logged_model(logged.model_id, "FAILED")
            raise
        store.finalize_logged_model(logged.model_id, "READY")
    if metrics:
        now, inputs = logged.creation_timestamp, store.get_run(run_id).inputs
        data = inputs.dataset_inputs[-1].dataset if inputs and inputs.dataset_inputs else None
        dataset = {"dataset_name": data.name, "dataset_digest": data.digest} if data else {}
        linked = [Metric(key, value, now, 0, logged.model_id, **dataset) for key, value in metrics.items()]
        store.log_batch(run_id, metrics=linked)
    uri = f"models:/{logged.model_id}"
    if registered is not None:
        register(uri, run_id, Registered(**registered))
    return uri


OPERATIONS: Mapping[str, Callable[..., str | None]] = {
    "begin": begin,
    "end": end,
    "tags": set_tags,
    "params": log_params,
    "metrics": log_metrics,
    "input": log_input,
    "artifact": log_artifact,
    "model": log_saved_model,
}
