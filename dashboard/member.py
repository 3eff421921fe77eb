"""One member: its learning curves, its classes, and the runs it is made of."""

import polars as pl

from dashboard.data import Member, mlflow_url, stage_name
from dashboard.stages import key
from tracking import metrics
from tracking.runs import COMMIT, DATA_DIGEST, DIRTY, Record

CURVES = {metrics.LOSS: "loss", metrics.MAP: "MAP on the holdout"}  # metric of a training step -> measure in words
EXTREMES = 8  # classes in the lists of the hardest and the easiest


def training_runs(member: Member) -> list[Record]:
    """Its newest pretrain and finetune runs, in this order."""
    return [run for stage in ("pretrain", "finetune") for run in member.stages if key(run) == stage]


def curve(run: Record, histories: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """The learning curves of a training run: stage (in words), measure (in words), step, value.

    `histories` has the history of each metric in `CURVES` (`tracking.runs.metric_history`).
    """
    tables = [
        table.select(pl.lit(stage_name(run)).alias("stage"), pl.lit(CURVES[name]).alias("measure"), "step", "value")
        for name, table in histories.items()
    ]
    return pl.concat(tables)


def extremes(classes: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The hardest and the easiest of `classes` (class_id, ap, positives), each ordered by AP from its end."""
    return (
        classes.sort("ap", "class_id").head(EXTREMES),
        classes.sort("ap", "class_id", descending=[True, False]).head(EXTREMES),
    )


def lineage(member: Member) -> pl.DataFrame:
    """One row per stage of the member, oldest first: stage, state, built_on, data, commit, seconds, finished, url.

    `built_on` has the first eight digits of the ids of the runs it starts from.
    """
    rows = []
    for run in sorted(member.stages, key=lambda run: run.start):
        sources = [run.params.get(name, "") for name in ("start_run", "start_runs", "checkpoint_run")]
        built_on = ", ".join(run_id[:8] for source in sources for run_id in source.split(",") if run_id)
        commit = run.tags.get(COMMIT, "unknown")[:8] + (" + local changes" if run.tags.get(DIRTY) == "true" else "")
        rows.append(
            (
                stage_name(run),
                run.run_id[:8],
                run.status.lower(),
                built_on,
                run.tags.get(DATA_DIGEST, "unknown")[:12],
                commit,
                None if (seconds := run.metrics.get(metrics.SECONDS)) is None else round(seconds),
                run.end,
                mlflow_url(run),
            )
        )
    schema = {
        **dict.fromkeys(("stage", "run", "state", "built_on", "data", "commit"), pl.String),
        "seconds": pl.Int64,
        "finished": pl.Datetime("ms", "UTC"),
        "url": pl.String,
    }
    return pl.DataFrame(rows, schema, orient="row")
