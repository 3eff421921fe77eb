"""A whole line-up through `mlflow server` on PostgreSQL, with basic auth and proxied artifacts, as docs/tracking.md
sets it up."""

import filecmp
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest
import requests
import streamlit as st

from dashboard import data
from scoring.commands.evaluate import evaluate
from scoring.commands.options import Runs
from scoring.commands.tracked import fuse
from scoring.weights.settings import SearchSettings
from tests.conftest import Server, free_port
from tests.dashboard.test_pages import opened
from tests.dashboard.test_states import visited
from tests.tracking.test_stage import stage
from tests.training.test_toys import TOYS
from tracking import metrics, runs, store
from tracking.commands.export import export
from tracking.commands.lineage import lineage
from tracking.commands.status import status
from tracking.store import ROOT, client
from tracking.writing import open_run
from training import line_up, members
from training.fit.kinds import KINDS
from training.fit.options import TorchOptions

pytestmark = pytest.mark.slow

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))  # of Debian's package
USER, PASSWORD = "anna", "a b/c and more"  # which an address must escape
AUTH = """
[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/users.db
admin_username = {user}
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""
AT_ONCE = """
import sys
from pathlib import Path
from tests.tracking.test_stage import finish, stage
from tracking import store
store.ROOT = Path(sys.argv[1])
print(stage("one").run_once(False, lambda: finish(stage("one"))).run_id)
"""


def address(host: str, port: int, user: str = USER, password: str = PASSWORD) -> str:
    return f"http://{user}:{quote(password, safe='')}@{host}:{port}"


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The address of a database on loopback; its server refuses to run as root."""
    if not PROGRAMS:
        pytest.skip("PostgreSQL (Debian: postgresql) is not installed")
    pytest.importorskip("psycopg2")
    folder, port, programs = Path(tempfile.mkdtemp(prefix="postgres-")), free_port(), PROGRAMS[-1]
    own = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if own:
        shutil.chown(folder, "postgres")

    def call(program: str, *words: str) -> None:
        # Its server keeps the file descriptors it is given: a pipe would never end.
        with tempfile.TemporaryFile("w+") as log:
            done = subprocess.run([*own, str(programs / program), *words], stdout=log, stderr=log, cwd="/", check=False)
            log.seek(0)
            assert done.returncode == 0, log.read()

    try:
        call("initdb", "-D", f"{folder}/data", "--auth", "trust", "--username", "mlflow", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        call("pg_ctl", "-D", f"{folder}/data", "-l", f"{folder}/log", "-w", "-o", options, "start")
        try:
            call("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "mlflow", "mlflow")
            yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/mlflow"
        finally:
            call("pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def secured(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("flask_wtf")
    folder = tmp_path_factory.mktemp("server")
    (folder / "auth.ini").write_text(AUTH.format(folder=folder, user=USER, password=PASSWORD))
    server = Server(folder, postgres)
    server.start(
        "--app-name",
        "basic-auth",
        MLFLOW_AUTH_CONFIG_PATH=str(folder / "auth.ini"),
        MLFLOW_FLASK_SERVER_SECRET_KEY="0123456789abcdef",
    )
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def using(uri: str, folder: Path) -> Iterator[None]:
    """Within it, the store is at `uri`, and what belongs to this machine in `folder`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
            patch.setenv(name, "")  # undone after the block
        patch.setattr(store, "ROOT", folder)
        store._open.cache_clear()  # it sets the two variables
        st.cache_data.clear()
        yield


@pytest.fixture
def as_anna(secured: Server, tmp_path: Path) -> Iterator[Server]:
    with using(address("127.0.0.1", secured.port), tmp_path):
        yield secured


@pytest.fixture(scope="module")
def trained(secured: Server, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A line-up that Anna has trained on the server."""
    first = replace(TOYS[-1], name="first", pretrain=None)
    toys = (first, replace(first, name="second", seed=1))
    folder = tmp_path_factory.mktemp("trained")
    with using(address("127.0.0.1", secured.port), folder), pytest.MonkeyPatch.context() as patch:
        patch.setitem(KINDS, "toy", "tests.training.toy_kind")
        patch.setitem(members.LINE_UPS, "toys", lambda: toys)
        line_up.run("toys", tiny_folder, search=SearchSettings(trials=6), force=False, options=TorchOptions())


@pytest.mark.usefixtures("trained", "as_anna")
def test_a_line_up_goes_through_a_server_with_its_lists_scores_and_dashboard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {run.status for run in runs.find_runs("tiny", finished=False)} == {"FINISHED"}
    stages = sorted(run.name for run in runs.find_runs("tiny", member="first") if run.parent)
    assert stages == ["finetune", "infer holdout", "infer test"]

    fused = runs.find_run("tiny", stage="fuse", split="holdout")
    fuse(runs=Runs(experiment="tiny", lineup="toys"), split="holdout", out=tmp_path / "fused.csv")
    capsys.readouterr()
    searched = runs.find_run("tiny", stage="optimize")
    evaluate((tmp_path / "fused.csv",), judgments=searched.artifact("judgments.parquet"), json=True)
    printed = re.search(r'"map": ([0-9.]+)', capsys.readouterr().out)
    assert printed is not None
    assert float(printed[1]) == pytest.approx(fused.metrics[metrics.map_of(metrics.ENSEMBLE)], abs=1e-9)

    shown = data.line_up("tiny", "toys")
    assert [member.name for member in shown.members] in (["first", "second"], ["second", "first"])
    assert shown.ensemble is not None
    assert shown.ensemble.trials.height > 0
    assert data.weight_shares(shown)["weight"].sum() == pytest.approx(1)
    assert PASSWORD not in str([run.tags for run in runs.find_runs("tiny", finished=False)])


@pytest.fixture(params=["a user of the server", "a user of the database"])
def reader(
    request: pytest.FixtureRequest, secured: Server, postgres: str, trained: None, tmp_path: Path
) -> Iterator[None]:
    """Somebody who may only read is at work, by the rules of the server or of the database."""
    if request.param == "a user of the server":
        user, url = {"username": "ben", "password": "may only read"}, f"{secured.address}/api/2.0/mlflow/users/create"
        assert requests.post(url, json=user, auth=(USER, PASSWORD), timeout=30).ok
        uri = address("127.0.0.1", secured.port, "ben", "may only read")
    else:
        import psycopg2

        with (
            closing(psycopg2.connect(postgres.replace("+psycopg2", ""))) as database,
            database,
            database.cursor() as sql,
        ):
            sql.execute("CREATE ROLE ben LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO ben")
        uri = postgres.replace("mlflow@", "ben@")
    with using(uri, tmp_path):
        yield


@pytest.mark.usefixtures("reader")
def test_who_may_only_read_sees_everything_and_is_told_when_a_command_must_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = opened(dataset="tiny", lineup="toys")
    for _ in visited(app):
        assert app.title
        assert not app.error, app.error
    status()
    assert "0 running; 0 failed or killed" in capsys.readouterr().out
    export(tmp_path / "runs.csv")
    fused = runs.find_run("tiny", stage="fuse", split="test")
    assert fused.run_id in (tmp_path / "runs.csv").read_text()
    capsys.readouterr()
    lineage(fused.run_id)
    assert "first finetune" in capsys.readouterr().out

    before = runs.find_runs(finished=False)
    with (
        pytest.raises(RuntimeError, match=r"does not allow this: .*; ask its administrator for the permission") as told,
        replace(stage("one"), experiment="tiny").open(),
    ):
        pytest.fail("the stage has begun")
    assert "\n" not in str(told.value)
    assert runs.find_runs(finished=False) == before


def test_two_first_commands_at_once_make_one_parent_and_one_run(as_anna: Server, tmp_path: Path) -> None:
    command = [sys.executable, "-c", AT_ONCE, str(tmp_path)]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert len({process.communicate()[0] for process in processes}) == 1
    assert [process.returncode for process in processes] == [0, 0]
    made = runs.find_runs("toy", finished=False)
    assert sorted(run.parent is None for run in made) == [False, True]
    assert list((tmp_path / "mlruns").rglob("*.lock")) == []


def test_a_wrong_password_and_a_refused_name_are_sentences(
    as_anna: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{USER}:guess@127.0.0.1:{as_anna.port}")
    store._open.cache_clear()
    with pytest.raises(RuntimeError, match=r"refuses the user or the password; set MLFLOW_TRACKING_USERNAME") as wrong:
        stage("one").done(force=False)
    assert "guess" not in str(wrong.value)

    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **named: resolve("127.0.0.1", *rest, **named))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address("mlflow.example.org", as_anna.port))
    with pytest.raises(RuntimeError, match=r"start it with `mlflow server --allowed-hosts mlflow\.example\.org:"):
        client()


def test_an_artifact_of_a_gigabyte_goes_through_the_server_and_is_never_in_memory(
    as_anna: Server, tmp_path: Path
) -> None:
    large = tmp_path / "large.bin"
    with large.open("wb") as file:
        for place in range(0, 1_000_000_000, 99_999_999):  # zeros between them take no space
            file.seek(place)
            file.write(b"%d" % place)
        file.truncate(1_000_000_000)
    processes = [psutil.Process(), *as_anna.processes()]
    before = {process.pid: process.memory_info().rss for process in processes}
    for process in processes:
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # forgets the highest memory so far
    with open_run("files", "large", {}) as run:
        run.artifact(large)
    assert filecmp.cmp(large, runs.get_run(run.run_id).artifact("large.bin"), shallow=False)
    for process in processes:
        highest = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        assert highest is not None
        assert int(highest[1]) * 1024 - before[process.pid] < 300_000_000
