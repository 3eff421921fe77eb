"""`python -m benchmarks.dashboard`: how fast the dashboard is with 1,000 runs and judged pairs of the paper's size.

Everything is generated: a line-up of nine members with 1,000 classes and 18,500 judged pairs, and other line-ups until
the store has enough runs. Pages are run as Streamlit runs them, without a browser, in a process of their own.
"""

import json as json_format
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from scoring.fusion.fusion import MEMBER_K
from scoring.measures.similarity import OVERLAPS, SIMILARITY, SIMILARITY_FILE
from scoring.tracked.logs import ensemble_metrics, weights_metrics
from scoring.weights.cross_validation import CrossValidation, leave_one_out
from scoring.weights.judged_pairs import JUDGED_PAIRS, MEMBER_RANK
from scoring.weights.report import Report
from scoring.weights.weights_json import Weights
from scoring.weights.what_if import WhatIf, class_changes
from tracking import metrics
from tracking.stage import Parent, Stage
from videos.judgments import JUDGMENTS, Judgments
from videos.segments import segment_ids

ROOT = Path(__file__).resolve().parents[1]
APP = ROOT / "dashboard" / "app.py"
EXPERIMENT, LINEUP = "yt8m", "paper"
MEMBERS = [f"member-{number}" for number in range(1, 10)]
MEASURED = "@measured "  # begins the line with a process's figures
GOALS = {"first_page_s": 2.0, "cold_s": 5.0, "what_if_ms": 200.0}


@dataclass(frozen=True)
class Speed:
    """`cold_s`: a new process to the first page; `first_page_s`: a new session in it, with nothing cached.

    `what_if_ms`: MAP, interval, paired significance against two other ensembles and the change per class of one vector
    of weights, the median of several; `peak_mib`: the process's largest resident memory after all pages.
    """

    first_page_s: float
    cold_s: float
    what_if_ms: float
    peak_mib: float


def run(runs: int = 1000, classes: int = 1000, judged: int = 18_500, json: bool = False) -> None:
    """Measure the dashboard on a generated store.

    Args:
        runs: How many runs the store has.
        classes: How many classes are judged.
        judged: How many pairs are judged.
        json: Print JSON.
    """
    with tempfile.TemporaryDirectory() as folder:
        print("writing the store ...", file=sys.stderr, flush=True)
        speed = measure(Path(folder), runs=runs, classes=classes, judged=judged)
    if json:
        print(json_format.dumps(asdict(speed), indent=1))
        return
    for name, value in asdict(speed).items():
        goal = f" (goal: at most {GOALS[name]:g})" if name in GOALS else ""
        print(f"{name}: {value:.3g}{goal}")


def measure(folder: Path, *, runs: int, classes: int, judged: int) -> Speed:
    """Fill a store in an empty folder, and measure the dashboard on it in a new process."""
    database = folder / "mlflow.db"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{database}", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "benchmarks.dashboard"]
    subprocess.run([*command, "--fill", str(classes), str(judged)], cwd=ROOT, env=environment, check=True)
    copy_runs(database, runs)
    done = subprocess.run(
        [*command, "--open", str(time.time())], cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    figures = next(line for line in done.stdout.splitlines() if line.startswith(MEASURED))
    return Speed(**json_format.loads(figures.removeprefix(MEASURED)))


def open_pages(began: float) -> Speed:
    """Measure the pages in this process, which was started at `began` (seconds since 1970)."""
    import streamlit as st
    from streamlit.testing.v1 import AppTest

    def first_page() -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=300).run()
        assert not app.exception, app.exception
        return app

    app = first_page()
    cold = time.time() - began
    warm = []
    for _ in range(3):
        st.cache_data.clear()
        start = time.perf_counter()
        app = first_page()
        warm.append(time.perf_counter() - start)
    for page in sorted(path.stem for path in (ROOT / "dashboard" / "views").glob("*.py") if path.stem != "__init__"):
        app.switch_page(f"views/{page}.py").run()
        assert not app.exception, app.exception
    what_if = time_what_if()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    return Speed(statistics.median(warm), cold, 1000 * what_if, peak)


def time_what_if(vectors: int = 11) -> float:
    """Seconds to score one weight vector as the page What if does, the median of several."""
    from dashboard import searches

    search = searches.newest(EXPERIMENT, LINEUP)
    assert search is not None
    ready = searches.prepared(search)
    rng = np.random.default_rng(0)
    seconds = []
    for weights in rng.dirichlet(np.ones(len(MEMBERS)), vectors):
        start = time.perf_counter()
        scored = ready.what_if.score(dict(zip(ready.what_if.members, weights.tolist(), strict=True)), 5.0)
        _ = scored.resampled.interval
        for other in (ready.equal, ready.chosen):
            scored.resampled.over(other.resampled)
            class_changes(scored, other)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def fill(classes: int, judged: int) -> None:
    """Log one line-up of nine members, with an ensemble, to the store."""
    rng = np.random.default_rng(0)
    pairs = generated_pairs(rng, classes, judged)
    what_if = WhatIf(pairs)
    shares = dict(zip(MEMBERS, rng.dirichlet(np.ones(len(MEMBERS))).tolist(), strict=True))
    report = generated_report(what_if, shares)
    for number, member in enumerate(MEMBERS):
        identity = {"dataset": EXPERIMENT, "lineup": LINEUP, "member": member, "kind": "member"}
        parent = Parent(name=member, identity=identity, tags={"framework": "torch"})
        score = report.members[member]
        for stage, split, values in (
            ("pretrain", "", {metrics.map_of(metrics.PRETRAINED): score - 0.1}),
            ("finetune", "", {metrics.map_of(metrics.FINETUNED): score - 0.02}),
            ("infer", "holdout", {metrics.map_of(metrics.shift(shift)): score - 0.03 for shift in (-1, 0, 1)}),
            ("infer", "test", {}),
        ):
            with _stage(parent, stage, split).open() as opened:
                opened.run.params({"layers": 2, "seed": number})
                opened.headline(values)
                opened.parent.metrics({metrics.map_of(metrics.MERGED): score})
    parent = Parent(
        name=f"ensemble {LINEUP}", identity={"dataset": EXPERIMENT, "lineup": LINEUP, "kind": "ensemble"}, tags={}
    )
    with _stage(parent, "merge", "holdout").open():
        pass
    with _stage(parent, "optimize", "").open() as opened, tempfile.TemporaryDirectory() as folder:
        opened.run.metrics({**weights_metrics(Weights(report.k, shares)), metrics.MAP: report.map})
        report.write(Path(folder) / "report.json")
        report.weights_file(60).write(Path(folder) / "weights.json")
        tables = {"trials.parquet": generated_trials(rng, what_if), SIMILARITY_FILE: generated_similarity(rng)}
        for name, table in {**tables, JUDGED_PAIRS: pairs}.items():
            table.write_parquet(Path(folder) / name)
        opened.run.artifact(Path(folder))
    with _stage(parent, "fuse", "holdout").open() as opened, tempfile.TemporaryDirectory() as folder:
        report.write(Path(folder) / "report.json")
        pairs.write_parquet(Path(folder) / JUDGED_PAIRS)
        opened.run.artifact(Path(folder))
        opened.headline({**weights_metrics(Weights(report.k, shares)), **ensemble_metrics(report)})


def _stage(parent: Parent, stage: str, split: str) -> Stage:
    return Stage(experiment=EXPERIMENT, parent=parent, stage=stage, digest="0" * 16, data_digest="1" * 32, split=split)


def generated_pairs(rng: np.random.Generator, classes: int, judged: int) -> pl.DataFrame:
    """Judged pairs of 3,781 videos, with the ranks of members that agree to a degree."""
    pairs = pl.DataFrame(
        {
            "video_id": [f"v{video:04}" for video in rng.integers(3781, size=judged)],
            "start": 5 * rng.integers(60, size=judged),
            "class_id": rng.integers(classes, size=judged),
            "relevance": rng.random(judged) < 0.55,
        }
    )
    pairs = pairs.select("class_id", "relevance", segment_id=segment_ids()).cast(dict(JUDGMENTS))  # pyright: ignore[reportArgumentType]
    pairs = Judgments(pairs).scored
    truth = rng.normal(size=len(pairs)) + 1.5 * pairs["relevance"].to_numpy()
    ranks = {
        name: np.clip(np.exp(10 - 1.2 * (truth + rng.normal(size=len(pairs)))), 1, 170_000).astype(np.uint32)
        for name in ["rank", *(f"{MEMBER_RANK}{member}" for member in MEMBERS)]
    }
    return pairs.with_columns(pl.lit(None, pl.UInt32).alias("reach"), *(pl.Series(n, r) for n, r in ranks.items()))


def generated_report(what_if: WhatIf, shares: dict[str, float]) -> Report:
    best, equal = what_if.score(shares, MEMBER_K), what_if.score(None, MEMBER_K)
    alone = {member: what_if.score({**dict.fromkeys(MEMBERS, 0.0), member: 1.0}, MEMBER_K) for member in MEMBERS}
    leader = max(alone, key=lambda member: alone[member].map)
    return Report(
        map=best.map,
        interval=best.resampled.interval,
        k=MEMBER_K,
        weights=shares,
        members={member: scored.map for member, scored in alone.items()},
        intervals={member: scored.resampled.interval for member, scored in alone.items()},
        equal_weights=equal.map,
        equal_weights_interval=equal.resampled.interval,
        cross_validated=CrossValidation(best.map - 0.01, equal.map, equal.map - 0.01, alone[leader].map),
        better_than_best_member=best.resampled.over(alone[leader].resampled),
        leave_one_out=leave_one_out(what_if.objective, shares, MEMBER_K),
        unit="video",
        units=best.resampled.units,
        shrink=0.0,
        seed=0,
        cutoff=100_000,
        mode="strict",
    )


def generated_trials(rng: np.random.Generator, what_if: WhatIf) -> pl.DataFrame:
    vectors = rng.dirichlet(np.ones(len(MEMBERS)), 60)
    maps = what_if.objective.maps(vectors, np.full(60, MEMBER_K))
    columns = {f"weight/{member}": vectors[:, row] for row, member in enumerate(what_if.members)}
    table = pl.DataFrame({"trial": range(60), "source": ["ax"] * 60, **columns, "k": [MEMBER_K] * 60, "map": maps})
    return table.with_columns(pl.col("trial").cast(pl.Int32), best=pl.col("map").cum_max(), seconds=pl.lit(0.1))


def generated_similarity(rng: np.random.Generator) -> pl.DataFrame:
    pairs = [(one, other) for one in MEMBERS for other in MEMBERS if one != other]
    rows = [(*pair, *rng.random(1 + len(OVERLAPS)).tolist(), 1000) for pair in pairs]
    return pl.DataFrame(rows, SIMILARITY, orient="row")


def copy_runs(database: Path, runs: int) -> None:
    """Copy all runs of a store, as further line-ups, until it has at least `runs`.

    Rows are copied by SQL: logging a thousand runs one by one takes minutes.
    """
    with closing(sqlite3.connect(database)) as store, store:
        copied = [row[0] for row in store.execute("SELECT run_uuid FROM runs")]
        tables = {
            table: [row[1] for row in store.execute(f"PRAGMA table_info({table})")]
            for table in ("runs", "tags", "params", "metrics", "latest_metrics")
        }
        store.execute("CREATE TEMP TABLE named (old TEXT PRIMARY KEY, new TEXT)")
        for copy in range(1, -(-runs // len(copied))):
            store.execute("DELETE FROM named")
            store.executemany("INSERT INTO named VALUES (?, ?)", [(old, uuid.uuid4().hex) for old in copied])
            for table, columns in tables.items():
                values = ", ".join(_copied(table, column, copy) for column in columns)
                store.execute(
                    f"INSERT INTO {table} ({', '.join(columns)}) "
                    f"SELECT {values} FROM {table} t JOIN named n ON t.run_uuid = n.old"
                )


def _copied(table: str, column: str, copy: int) -> str:
    """The SQL of a column's value in a copy of a row `t`: with new ids, an earlier start and another line-up."""
    if column == "run_uuid":
        return "n.new"
    if table == "runs" and column in ("start_time", "end_time"):
        return f"t.{column} - {copy} * 3600000"
    if table == "tags" and column == "value":
        parent = "(SELECT p.new FROM named p WHERE p.old = t.value)"
        return (
            f"CASE t.key WHEN 'lineup' THEN t.value || '-{copy}' WHEN 'mlflow.parentRunId' THEN {parent} "
            "ELSE t.value END"
        )
    return f"t.{column}"


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--fill"]:
        fill(*map(int, arguments[1:]))
    elif arguments[:1] == ["--open"]:
        print(MEASURED + json_format.dumps(asdict(open_pages(float(arguments[1])))))
    else:
        import tyro

        tyro.cli(run)


if __name__ == "__main__":
    main(sys.argv[1:])
