"""Find runs and read them; the vocabulary of tags, once.

A run is one stage (of one member, or of an ensemble) and lies under its parent, the member's or the ensemble's own
run: two levels, no more, because the MLflow UI folds no deeper. Runs are found again by their tags, never by name.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

import polars as pl

from files.replacing import replacing
from tracking.store import client, local_folder, tracking_uri

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

# Who a run belongs to. Children inherit these from their parent.
DATASET, LINEUP, MEMBER, FRAMEWORK = "dataset", "lineup", "member", "framework"
KIND = "kind"  # of a parent: member | ensemble | dataset
STAGE, SPLIT = "stage", "split"  # of a child
CONFIG_DIGEST, DATA_DIGEST = "config_digest", "data_digest"  # what makes a finished stage the same one
COMMIT, DIRTY, COMMAND, HOST, PID = "commit", "dirty", "command", "host", "pid"  # stamped by `open_run`
ERROR = "error"  # the sentence with which a run failed

PARENT = "mlflow.parentRunId"


@dataclass(frozen=True)
class Record:
    """A run as it stands in the store; times are UTC, `end` is None while it runs, `metrics` are the latest values."""

    run_id: str
    experiment: str
    experiment_id: str
    name: str
    status: str
    start: datetime
    end: datetime | None
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]
    artifact_uri: str
    parent: str | None

    def artifact(self, path: str) -> Path:
        """The file or folder `path` of this run: in place where the store is local, downloaded once otherwise.

        ValueError when the run has no such artifact.
        """
        location = urlparse(self.artifact_uri)
        if location.scheme in ("", "file"):
            local = Path(unquote(location.path)) / path
        else:
            local = local_folder() / "downloads" / self.run_id / path
            if not local.exists():
                _download(f"{self.artifact_uri}/{path}", local)
        if not local.exists():
            raise ValueError(f"the {self.name} run {self.run_id} has no artifact {path}; run its stage with --force")
        return local


def find_runs(experiment: str | None = None, finished: bool = True, **tags: str) -> list[Record]:
    """The FINISHED runs (or all) with these tags, newest first; of every experiment where none is named."""
    experiments = {experiment.experiment_id: experiment.name for experiment in client().search_experiments()}
    chosen = [number for number, name in experiments.items() if experiment in (None, name)]
    if not chosen:
        return []
    conditions = [f"tags.`{key}` = {_quoted(value)}" for key, value in tags.items()]
    conditions += ["attributes.status = 'FINISHED'"] * finished
    records: list[Record] = []
    token = None
    while True:
        page = client().search_runs(
            chosen,
            " and ".join(conditions),
            max_results=1000,
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        records += [_record(run, experiments[run.info.experiment_id]) for run in page]
        token = page.token
        if not token:
            return records


def find_run(experiment: str, **tags: str) -> Record:
    """The newest finished run with these tags; ValueError with the command that makes one when there is none."""
    records = find_runs(experiment, finished=True, **tags)
    if not records:
        raise ValueError(_missing(experiment, tags))
    return records[0]


def get_run(run_id: str) -> Record:
    """The run with this id; ValueError when the store has none."""
    from mlflow.exceptions import MlflowException

    try:
        run = client().get_run(run_id)
    except MlflowException as error:
        raise ValueError(f"{tracking_uri()} has no run {run_id}; see `mlflow ui` for those it has") from error
    return _record(run, client().get_experiment(run.info.experiment_id).name)


def metric_history(run_id: str, key: str) -> pl.DataFrame:
    """Every value of a metric: step (i64), value (f64), timestamp (UTC), by step; empty where it was never logged."""
    history = client().get_metric_history(run_id, key)
    rows = [(point.step, point.value, point.timestamp) for point in history]
    schema = {"step": pl.Int64, "value": pl.Float64, "timestamp": pl.Int64}
    timestamp = pl.from_epoch("timestamp", "ms").dt.replace_time_zone("UTC")
    return pl.DataFrame(rows, schema, orient="row").with_columns(timestamp).sort("step", "timestamp")


def _record(run: "MlflowRun", experiment: str) -> Record:
    info, data = run.info, run.data
    return Record(
        run_id=info.run_id,
        experiment=experiment,
        experiment_id=info.experiment_id,
        name=info.run_name or info.run_id,
        status=info.status,
        start=_time(info.start_time),
        end=_time(info.end_time) if info.end_time and info.status != "RUNNING" else None,
        tags={key: value for key, value in data.tags.items() if not key.startswith("mlflow.")},
        params=dict(data.params),
        metrics=dict(data.metrics),
        artifact_uri=info.artifact_uri or "",
        parent=data.tags.get(PARENT),
    )


def _time(milliseconds: Any) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _quoted(value: str) -> str:
    quote = '"' if "'" in value else "'"
    if quote in value:
        raise ValueError(f"a tag with both kinds of quotes cannot be searched for: {value}")
    return f"{quote}{value}{quote}"


def _download(uri: str, path: Path) -> None:
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    with replacing(path) as temporary:  # MLflow downloads an artifact under the artifact's own name
        try:
            download_artifacts(artifact_uri=uri, dst_path=str(temporary.parent), tracking_uri=tracking_uri())
        except (MlflowException, OSError) as error:
            raise ValueError(f"{uri} cannot be downloaded: {error}; check that its stage has finished") from error


def _missing(experiment: str, tags: Mapping[str, str]) -> str:
    stage, member = tags.get(STAGE), tags.get(MEMBER)
    others = ", ".join(f"{key}={value}" for key, value in tags.items() if key not in (STAGE, MEMBER))
    what = " ".join(["no finished", stage or tags.get(KIND, ""), "run"]).replace("  ", " ")
    what += f" for {member}" if member else ""
    what += f" in the experiment {experiment}" + (f" with {others}" if others else "")
    return f"{what}; run `{_command(experiment, tags)}` first"


def _command(experiment: str, tags: Mapping[str, str]) -> str:
    """What to type for a run with these tags; capitals stand for what only its reader knows."""
    stage, member = tags.get(STAGE, ""), tags.get(MEMBER, "NAME")
    lineup = ["--lineup", tags.get(LINEUP, "NAME")]
    split = ["--split", tags[SPLIT]] if SPLIT in tags else []
    if stage in ("merge", "optimize", "fuse"):
        judgments = ["--judgments", "FILE"] if stage == "optimize" else []
        return shlex.join(
            ["python", "-m", "scoring", "tracked", stage, "--experiment", experiment, *lineup, *split, *judgments]
        )
    start = [stage, member] if stage in ("pretrain", "finetune", "infer") else ["run"]
    return shlex.join(["python", "-m", "training", *start, *lineup, "--data", "DIR", *split])
