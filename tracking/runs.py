"""Find runs and read them; the names of all tags.

A run is one stage of a member or of an ensemble, and a child of the member's or the ensemble's own run. There are only
these two levels, because the MLflow UI nests no deeper. Runs are found by their tags, never by name.
"""

import json
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

import polars as pl

from files.replacing import replacing
from tracking import sqlite_reading
from tracking.liveness import HOST, is_dead, process_tags
from tracking.sqlite_reading import Row
from tracking.store import answers, client, local_folder, located, server, sqlite_file, tracking_uri, without_password

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

# Identity of a run; children inherit these from their parent.
DATASET, LINEUP, MEMBER, FRAMEWORK = "dataset", "lineup", "member", "framework"
FINAL = "-final"  # at the end of a line-up's name: its members refitted on everything rated, the holdout included
KIND = "kind"  # of a parent: member | ensemble | named (an ensemble that somebody saved) | dataset
ENSEMBLE = "ensemble"  # the name of a saved ensemble
AUTHOR, REASON = "author", "reason"  # who saved it, and why
STAGE, SPLIT = "stage", "split"  # of a child
CONFIG_DIGEST, DATA_DIGEST = "config_digest", "data_digest"  # by which a finished stage is recognised
COMMIT, DIRTY, COMMAND = "commit", "dirty", "command"  # set by `open_run`, with those of `tracking.liveness`
KEY = "key"  # of a stage, made before its run: by it the run is found if the answer to its creation was lost
ERROR = "error"  # why a run failed, one sentence
SUBMISSION = "submission_digest"  # of a fuse run: SHA-256 of its Kaggle CSV
PROGRESS = "progress"  # how far a running stage is, `1200 of 2000 steps at 2026-01-01T00:00:00Z`
PAPER_NAME, PUBLISHED_MAP = "paper_name", "published_map"  # of a member of the paper: its name and private MAP there
OUTDATED = "outdated"  # of a member: which of its metrics are of runs that later ones have replaced
SEED, PARAMETERS = "seed", "parameters"  # params of a training stage; PARAMETERS is the number of trainable ones
DESCRIPTION = "member.json"  # artifact of a finetune run: from it and the weights the member is built

PARENT = "mlflow.parentRunId"
# Params with the ids of the runs that a run builds on, several separated by commas; the last is followed by a member.
INFER_RUN = "infer_run/"
UPSTREAM = ("start_run", "start_runs", "steps_run", "checkpoint_run", "optimize_run", INFER_RUN)


@dataclass(frozen=True)
class Record:
    """A run as read from the store. Times are UTC, `end` is None while it runs, `metrics` has the latest values.

    `status` is KILLED if the store has RUNNING but the run's process is known to be dead.
    """

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

    @property
    def key(self) -> str:
        """What identifies the run in the digests of the stages that build on it, also before the store has it."""
        return self.tags.get(KEY, self.run_id)

    @property
    def upstream(self) -> list[str]:
        """Ids of the runs that it builds on."""
        values = [value for name, value in sorted(self.params.items()) if name.startswith(UPSTREAM)]
        return list(dict.fromkeys(run_id for value in values for run_id in value.split(",") if run_id))

    @property
    def infer_runs(self) -> dict[str, str]:
        """The id of the infer run of each member that it builds on, by name."""
        names = sorted(name for name in self.params if name.startswith(INFER_RUN))
        return {name.removeprefix(INFER_RUN): self.params[name] for name in names}

    @property
    def members(self) -> list[str]:
        """The members whose infer runs it builds on."""
        return list(self.infer_runs)

    @property
    def _is_local(self) -> bool:
        return urlparse(self.artifact_uri).scheme in ("", "file")

    @property
    def _downloads(self) -> Path:
        return downloads_folder() / self.run_id

    def settle(self, folder: Path, path: str) -> None:
        """Remove a folder that has been logged as the artifact `path`; of a server's run, it counts as downloaded."""
        if self._is_local:
            shutil.rmtree(folder)
            return
        shutil.rmtree(self._downloads / path, ignore_errors=True)
        (self._downloads / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder, self._downloads / path)

    def keep(self) -> None:
        """Keep a server's run on this machine, for `kept_runs`."""
        if not self._is_local:
            values = {**asdict(self), "start": self.start.isoformat(), "end": self.end and self.end.isoformat()}
            with replacing(self._downloads / "run.json") as temporary:
                temporary.write_text(json.dumps({"server": server(), "run": values}, indent=1))

    def artifact(self, path: str) -> Path:
        """The file or folder `path` of this run, downloaded once if the store is not local; ValueError if missing."""
        if self._is_local:
            local = Path(unquote(urlparse(self.artifact_uri).path)) / path
        else:
            local = self._downloads / path
            if not local.exists():
                _download(f"{self.artifact_uri}/{path}", local)
        if not local.exists():
            raise ValueError(f"the {self.name} run {self.run_id} has no artifact {path}; {self._remedy}")
        return local

    @contextmanager
    def reading(self, *paths: str) -> Iterator[list[Path]]:
        """`artifact` of each path, to be read within the block; ValueError with the command that makes them again if
        that fails."""
        files = [self.artifact(path) for path in paths]
        try:
            yield files
        except (ValueError, OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            problem = str(error).partition("\n")[0].partition("; ")[0]
            where = "" if any(str(file) in problem for file in files) else f"{files[0]} cannot be read: "
            raise ValueError(f"the {self.name} run {self.run_id}: {where}{problem}; {self._remedy}") from error

    def table(self, path: str) -> pl.DataFrame:
        """The Parquet file `path` of this run; ValueError as in `reading`."""
        with self.reading(path) as (file,):
            return pl.read_parquet(file)

    @property
    def _remedy(self) -> str:
        """How to make the artifacts of this run again."""
        if ENSEMBLE in self.tags:
            return "save the ensemble under another name, on the dashboard's page What if"
        return f"make it again: `{_command(self.experiment, self.tags)} --force`"

    def has_artifact(self, path: str) -> bool:
        """Whether `artifact` finds the file or folder `path`."""
        try:
            return self.artifact(path).exists()
        except ValueError:
            return False


def find_runs(experiment: str | None = None, finished: bool = True, **tags: str) -> list[Record]:
    """The FINISHED runs (or all) with these tags, newest first; of all experiments if none is named."""
    return _search(experiment, "attributes.status = 'FINISHED'" if finished else "", tags)


def find_deleted(experiment: str, **tags: str) -> list[Record]:
    """The FINISHED runs with these tags that were deleted in the MLflow UI and can be brought back, newest first."""
    return _search(experiment, "attributes.status = 'FINISHED'", tags, is_deleted=True)


def is_final(lineup: str) -> bool:
    """Whether a line-up is the final refit of another one, which no judgments are left to measure."""
    return lineup.endswith(FINAL)


def first_lineup(lineup: str) -> str:
    """The line-up that a final refit takes its weights and its numbers of steps from; others are their own."""
    return lineup.removesuffix(FINAL)


def line_ups() -> dict[str, list[str]]:
    """Experiment -> its line-ups, except final refits; both ordered by their newest run, newest first."""
    if (file := sqlite_file()) is not None:
        named = sqlite_reading.read_tag_values(file, LINEUP)
    else:
        parents = find_runs(finished=False, kind="member") + find_runs(finished=False, kind="ensemble")
        newest = sorted(parents, key=lambda run: run.start, reverse=True)
        named = [(run.experiment, run.tags[LINEUP]) for run in newest if LINEUP in run.tags]
    names: dict[str, list[str]] = {}
    for experiment, lineup in dict.fromkeys(named):
        if not is_final(lineup):
            names.setdefault(experiment, []).append(lineup)
    return names


def find_dead() -> list[Record]:
    """The runs that are RUNNING in the store although their process on this machine is known to be dead."""
    records = _search(None, "attributes.status = 'RUNNING'", {HOST: process_tags()[HOST]})
    return [record for record in records if record.status == "KILLED"]


def downloads_folder() -> Path:
    return local_folder() / "downloads"


def kept_runs(experiment: str, **tags: str) -> list[Record]:
    """The finished runs of a server with these tags that this machine has kept (`Record.keep`), newest first."""
    kept = []
    for path in downloads_folder().glob("*/run.json"):
        content = json.loads(path.read_text())
        values = content["run"]
        if content["server"] != server():
            continue
        end = values["end"] and datetime.fromisoformat(values["end"])
        kept.append(Record(**{**values, "start": datetime.fromisoformat(values["start"]), "end": end}))
    wanted = [run for run in kept if run.experiment == experiment and tags.items() <= run.tags.items()]
    return sorted(wanted, key=lambda run: run.start, reverse=True)


def find_unfinished(since: datetime) -> list[Record]:
    """The runs that are RUNNING in the store, and those begun after `since` that are not FINISHED, newest first."""
    begun = f"attributes.status != 'FINISHED' and attributes.start_time > {int(since.timestamp() * 1000)}"
    records = {
        run.run_id: run for where in (begun, "attributes.status = 'RUNNING'") for run in _search(None, where, {})
    }
    return sorted(records.values(), key=lambda record: record.start, reverse=True)


def _search(experiment: str | None, attribute: str, tags: Mapping[str, str], is_deleted: bool = False) -> list[Record]:
    """`Away` if the server does not answer."""
    if (file := sqlite_file()) is not None:
        return [_record(row) for row in sqlite_reading.read_rows(file, experiment, attribute, tags, is_deleted)]
    with answers():
        return _found(experiment, attribute, tags, is_deleted)


def _found(experiment: str | None, attribute: str, tags: Mapping[str, str], is_deleted: bool) -> list[Record]:
    from mlflow.entities import ViewType

    experiments = {experiment.experiment_id: experiment.name for experiment in client().search_experiments()}
    chosen = [number for number, name in experiments.items() if experiment in (None, name)]
    if not chosen:
        return []
    conditions = [f"tags.`{key}` = {_quoted(value)}" for key, value in tags.items()] + [attribute] * bool(attribute)
    records: list[Record] = []
    token = None
    while True:
        page = client().search_runs(
            chosen,
            " and ".join(conditions),
            run_view_type=ViewType.DELETED_ONLY if is_deleted else ViewType.ACTIVE_ONLY,
            max_results=1000,
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        records += [_record(_row(run, experiments[run.info.experiment_id])) for run in page]
        token = page.token
        if not token:
            return records


def find_run(experiment: str, **tags: str) -> Record:
    """The newest finished run with these tags; ValueError with the command that makes one if there is none."""
    records = find_runs(experiment, finished=True, **tags)
    if not records:
        raise ValueError(_missing(experiment, tags))
    return records[0]


def get_run(run_id: str) -> Record:
    """The run with this id, also a deleted one; ValueError if the store has none, `Away` if it does not answer."""
    row = _get(run_id)
    if row is None:
        store = without_password(tracking_uri())
        raise ValueError(f"{store} has no run {run_id}; see `mlflow ui` for its runs")
    return _record(row)


def _get(run_id: str) -> Row | None:
    if (file := sqlite_file()) is not None:
        return sqlite_reading.read_row(file, run_id)
    from mlflow.exceptions import MlflowException

    try:
        with answers():
            run = client().get_run(run_id)
            return _row(run, client().get_experiment(run.info.experiment_id).name)
    except MlflowException:
        return None


def metric_history(run_id: str, metric: str) -> pl.DataFrame:
    """All values of a metric, steps ascending: step i64, value f64, time (UTC); `Away` if the server does not answer.

    A run that was resumed repeats the steps since its last checkpoint: of equal steps the last one logged is kept.
    """
    if (file := sqlite_file()) is not None:
        points = sqlite_reading.read_points(file, run_id, metric)
    else:
        with answers():
            history = client().get_metric_history(run_id, metric)
        points = [(point.step, point.value, point.timestamp) for point in history]
    rows = [(step, value, _time(time)) for step, value, time in points]
    schema = {"step": pl.Int64, "value": pl.Float64, "time": pl.Datetime("ms", "UTC")}
    table = pl.DataFrame(rows, schema, orient="row").sort("time", maintain_order=True)
    return table.unique("step", keep="last", maintain_order=True).sort("step")


def _row(run: "MlflowRun", experiment: str) -> Row:
    info, data = run.info, run.data
    return Row(
        run_id=info.run_id,
        experiment_id=info.experiment_id,
        experiment=experiment,
        name=info.run_name,
        status=info.status,
        start=info.start_time,
        end=info.end_time,
        artifact_uri=info.artifact_uri,
        tags=data.tags,
        params=data.params,
        metrics=data.metrics,
    )


def _record(row: Row) -> Record:
    is_killed = row.status == "RUNNING" and is_dead(row.tags)
    return Record(
        run_id=row.run_id,
        experiment=row.experiment,
        experiment_id=row.experiment_id,
        name=row.name or row.run_id,
        status="KILLED" if is_killed else row.status,
        start=_time(row.start),
        end=_time(row.end) if row.end and row.status != "RUNNING" else None,
        tags={key: value for key, value in row.tags.items() if not key.startswith("mlflow.")},
        params=dict(row.params),
        metrics=dict(row.metrics),
        artifact_uri=located(row.artifact_uri or ""),
        parent=row.tags.get(PARENT),
    )


def _time(milliseconds: Any) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _quoted(value: str) -> str:
    quote = '"' if "'" in value else "'"
    if quote in value:
        raise ValueError(f"a tag with both kinds of quotes cannot be searched for: {value}; rename it")
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
    """The command that makes a run with these tags; capitals are placeholders."""
    stage, member = tags.get(STAGE, ""), tags.get(MEMBER, "NAME")
    lineup = ["--lineup", tags.get(LINEUP, "NAME")]
    split = ["--split", tags[SPLIT]] if SPLIT in tags else []
    if stage in ("merge", "optimize", "fuse"):
        is_measured = stage == "optimize" or (stage == "fuse" and "holdout" in split)
        judgments = ["--judgments", "FILE"] if is_measured else []
        return shlex.join(
            ["python", "-m", "scoring", "tracked", stage, "--experiment", experiment, *lineup, *split, *judgments]
        )
    start = [stage, member] if stage in ("pretrain", "finetune", "sweep", "infer") else ["run"]
    return shlex.join(["python", "-m", "training", *start, *lineup, "--data", "DIR", *split])
