import os
import shlex
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import mlflow
import polars as pl
import pytest

from tracking.runs import find_run, find_runs, get_run
from tracking.store import ROOT, client, experiment_id
from tracking.writing import Run, open_parent, open_run

MEMBER = {"dataset": "synthetic", "lineup": "demo", "member": "bert", "framework": "torch", "kind": "member"}


def test_a_table_is_one_that_the_ui_shows(store: str) -> None:
    with open_run("tiny", "infer", {}) as run:
        run.table(pl.DataFrame({"class_id": [3, 7], "ap": [0.5, 1.0]}), "ap_per_class")
    assert client().get_run(run.run_id).data.tags["mlflow.loggedArtifacts"] == (
        '[{"path": "ap_per_class.json", "type": "table"}]'
    )
    mlflow.set_tracking_uri(store)  # `load_table` asks the process-wide store, whichever client it is called on
    table = client().load_table(experiment_id("tiny"), "ap_per_class.json", [run.run_id])
    assert table.to_dict("list") == {"class_id": [3, 7], "ap": [0.5, 1.0]}


def test_a_run_keeps_what_it_was_told(store: str, tmp_path: Path) -> None:
    before = datetime.now(UTC)
    with open_run("synthetic", "pretrain", {"stage": "pretrain"}, note="**bold**") as run:
        run.params({"layers": 2, "pooling": "mean"})
        run.metrics({"loss": 0.5, "learning_rate": 1e-3}, step=1)
        run.metrics({"loss": 0.25}, step=2)
        run.tags({"config_digest": "abc"})
        run.text("hello", "notes/hello.txt")
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "one.txt").write_text("1")
        run.artifact(tmp_path / "folder", "folder")
        run.artifact(tmp_path / "folder" / "one.txt")
    record = get_run(run.run_id)
    assert (record.status, record.name, record.experiment, record.parent) == ("FINISHED", "pretrain", "synthetic", None)
    assert record.params == {"layers": "2", "pooling": "mean"}
    assert record.metrics == {"loss": 0.25, "learning_rate": 1e-3}
    assert {"stage": "pretrain", "config_digest": "abc"}.items() <= record.tags.items()
    assert record.end is not None
    assert before.timestamp() - 1 < record.start.timestamp() <= record.end.timestamp()
    assert record.artifact("notes/hello.txt").read_text() == "hello"
    assert record.artifact("folder/one.txt").read_text() == record.artifact("one.txt").read_text() == "1"
    assert client().get_run(run.run_id).data.tags["mlflow.note.content"] == "**bold**"
    history = client().get_metric_history(run.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.25)]


def test_a_figure_is_a_picture(store: str) -> None:
    from matplotlib.figure import Figure

    with open_run("synthetic", "optimize", {}) as run:
        run.figure(Figure(), "trials.png")
    assert get_run(run.run_id).artifact("trials.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_is_stamped_with_where_it_comes_from(store: str) -> None:
    with open_run("synthetic", "pretrain", {}) as run:
        pass
    tags = get_run(run.run_id).tags
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert tags["commit"] == (commit.stdout.strip() or "unknown")
    assert tags["dirty"] in ("true", "false", "unknown")
    assert tags["command"] == shlex.join(["python", *sys.orig_argv[1:]])
    assert {"host", "pid"} <= tags.keys()


def test_the_column_source_has_the_command_without_its_options(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The MLflow UI shows what follows the last slash of a source."""
    words = ["-m", "training", "run", "--lineup", "demo", "--data", "data/demo"]
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, *words])
    with open_run("synthetic", "pretrain", {}) as run:
        pass
    tags = client().get_run(run.run_id).data.tags
    assert tags["mlflow.source.name"] == "python -m training run"
    assert tags["command"] == shlex.join(["python", *words])


def test_the_data_a_run_read_stands_beside_it(store: str) -> None:
    videos = pl.DataFrame({"video_id": ["a", "b"], "classes": [[1], [2, 3]]})
    with open_run("synthetic", "pretrain", {}) as run:
        run.dataset("synthetic pretrain", "d" * 64, videos, "training")
    inputs = client().get_run(run.run_id).inputs
    assert inputs is not None
    (read,) = inputs.dataset_inputs
    assert (read.dataset.name, read.dataset.digest) == ("synthetic pretrain", "d" * 36)
    assert read.tags[0].value == "training"
    assert '"num_rows": 2' in (read.dataset.profile or "")


@pytest.fixture
def sent(store: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of metrics in each call to the store."""
    numbers: list[int] = []
    log_batch = type(client()).log_batch

    def counted(self: object, run_id: str, **values: list) -> None:
        if "metrics" in values:
            numbers.append(len(values["metrics"]))
        log_batch(self, run_id, **values)  # pyright: ignore

    monkeypatch.setattr(type(client()), "log_batch", counted)
    return numbers


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time by which metrics are flushed: `now` in seconds, which stands still until a test moves it."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("tracking.writing.time", SimpleNamespace(monotonic=lambda: clock.now, time=time.time))
    return clock


def test_a_call_takes_a_thousand_metrics(sent: list[int], clock: SimpleNamespace) -> None:
    with open_run("synthetic", "pretrain", {}) as run:
        for step in range(1500):
            run.metrics({"loss": 1 / (step + 1)}, step)
    assert sent == [1000, 500]
    assert len(client().get_metric_history(run.run_id, "loss")) == 1500


def test_more_metrics_than_a_call_takes_go_in_several(sent: list[int], clock: SimpleNamespace) -> None:
    with open_run("synthetic", "pretrain", {}) as run:
        run.metrics({f"class/{number}": 0.5 for number in range(2500)})
    assert sent == [1000, 1000, 500]


def test_metrics_wait_for_two_seconds(sent: list[int], clock: SimpleNamespace) -> None:
    with open_run("synthetic", "pretrain", {}) as run:
        run.metrics({"loss": 1.0}, 1)
        clock.now += 1.9
        run.metrics({"loss": 1.0}, 2)
        assert sent == []
        clock.now += 0.2
        run.metrics({"loss": 1.0}, 3)
        assert sent == [3]
        clock.now += 1.9  # since the last flush
        run.metrics({"loss": 1.0}, 4)
        assert sent == [3]
    assert sent == [3, 1]


def test_an_exception_ends_a_run_failed_and_says_why(store: str) -> None:
    def fail() -> None:
        with open_parent("synthetic", "bert", MEMBER) as parent, open_run("synthetic", "x", {}, parent.run_id) as run:
            run.metrics({"loss": 7.0})
            raise ValueError("the loss is not finite")

    with pytest.raises(ValueError, match="not finite"):
        fail()
    child, parent = find_runs("synthetic", finished=False)
    assert child.status == parent.status == "FAILED"
    assert child.tags["error"] == parent.tags["error"] == "ValueError: the loss is not finite"
    assert child.metrics == {"loss": 7.0}


def test_leaving_by_sys_exit_is_not_finishing(store: str) -> None:
    with pytest.raises(SystemExit), open_run("synthetic", "x", {}):
        sys.exit(0)
    assert [run.status for run in find_runs("synthetic", finished=False)] == ["KILLED"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_a_run_killed(store: str, number: signal.Signals) -> None:
    program = (
        "import signal, time; from tracking.writing import open_parent, open_run\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs ignore it
        "with open_parent('synthetic', 'bert', {'kind': 'member'}) as parent:\n"
        "  with open_run('synthetic', 'pretrain', {}, parent.run_id) as run:\n"
        "    run.metrics({'loss': 1.0}); print('open', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        process.send_signal(number)
        assert process.wait(timeout=30) != 0
    with open_run("synthetic", "next", {"stage": "next"}):  # whoever comes next closes what SIGKILL left open
        pass
    statuses = {run.name: run.status for run in find_runs("synthetic", finished=False)}
    assert statuses == {"bert": "KILLED", "pretrain": "KILLED", "next": "FINISHED"}


def test_a_sigterm_handler_of_the_caller_stays(store: str) -> None:
    def handler(*_: object) -> None: ...

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with open_run("synthetic", "x", {}):
            assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)
    with open_run("synthetic", "x", {}):
        pass
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_stage_inherits_whose_it_is(store: str) -> None:
    with (
        open_parent("synthetic", "bert", MEMBER) as parent,
        open_run("synthetic", "infer holdout", {"stage": "infer", "split": "holdout"}, parent.run_id),
    ):
        pass
    found = find_run("synthetic", dataset="synthetic", lineup="demo", member="bert", stage="infer", split="holdout")
    assert found.parent == parent.run_id
    assert found.tags["framework"] == "torch"
    assert "kind" not in found.tags
    assert client().get_run(found.run_id).data.tags["mlflow.parentRunId"] == parent.run_id


def test_runs_lie_two_levels_deep_and_no_deeper(store: str) -> None:
    with (
        open_parent("synthetic", "bert", MEMBER) as parent,
        open_run("synthetic", "a", {}, parent.run_id) as child,
        pytest.raises(ValueError, match="is a stage itself"),
        open_run("synthetic", "b", {}, child.run_id),
    ):
        pass


def test_a_member_keeps_one_run_over_several_commands(store: str) -> None:
    def work(stage: str, name: str = "bert", **tags: str) -> Run:
        with open_parent("synthetic", name, {**MEMBER, "member": name, **tags}, note=stage) as parent:
            assert get_run(parent.run_id).status == "RUNNING"
            with open_run("synthetic", stage, {"stage": stage}, parent.run_id) as run:
                run.metrics({"map": 0.5})
            parent.metrics({f"{stage}/map": 0.5})
        return parent

    first, second = work("pretrain"), work("finetune")
    assert first.run_id == second.run_id
    assert work("pretrain", "other").run_id != first.run_id
    assert work("pretrain", lineup="paper").run_id != first.run_id
    parent = find_run("synthetic", kind="member", member="bert", lineup="demo")
    assert parent.status == "FINISHED"
    assert parent.metrics == {"pretrain/map": 0.5, "finetune/map": 0.5}
    assert len(find_runs("synthetic", member="bert", lineup="demo")) == 3


def test_a_parent_that_failed_goes_on_and_forgets_the_error(store: str) -> None:
    with pytest.raises(ValueError, match="full"), open_parent("synthetic", "bert", MEMBER):
        raise ValueError("disk full")
    with open_parent("synthetic", "bert", MEMBER):
        pass
    (record,) = find_runs("synthetic", finished=False)
    assert record.status == "FINISHED"
    assert "error" not in record.tags


def test_a_parent_must_say_what_it_is(store: str) -> None:
    with pytest.raises(ValueError, match="needs the tag `kind`"), open_parent("synthetic", "bert", {"member": "bert"}):
        pass


def test_importing_tracking_imports_no_mlflow() -> None:
    program = "import sys, tracking.writing, tracking.store, tracking.models; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


def test_a_refused_metric_does_not_keep_the_run_open(store: str) -> None:
    with pytest.raises(Exception, match="MAP@100K"), open_run("demo", "fuse", {}) as run:
        run.metrics({"MAP@100K": 0.5})
    assert [found.status for found in find_runs("demo", finished=False)] == ["FAILED"]


@pytest.mark.parametrize("error", [KeyError("getpwuid(): uid not found: 12345"), OSError("No username set")])
def test_a_user_without_a_name_can_start(store: str, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail() -> str:
        raise error

    monkeypatch.setattr("getpass.getuser", fail)
    with open_run("synthetic", "x", {}) as run:
        pass
    assert client().get_run(run.run_id).data.tags["mlflow.user"] == str(os.getuid())
