"""`reproduce --check`: a stage is repeated in a store of its own, and its result compared."""

import runpy
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from scoring.weights.settings import SearchSettings
from tests.training.test_toys import TOYS
from tracking import repetition, runs
from tracking.commands.reproduce import reproduce
from tracking.store import local_folder
from training import line_up, members
from training.fit.kinds import KINDS
from training.fit.options import TorchOptions
from training.member import Schedule
from videos.store import FrameStore

TOY = replace(TOYS[-1], pretrain=Schedule(12, 4, batch=16, learning_rate=1e-3))


def in_this_process(command: list[str]) -> None:
    """Runs `python -m PACKAGE ...` here, where the line-up `toys` exists."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", command[2:])
        patch.delitem(sys.modules, f"{command[2]}.__main__", raising=False)  # runpy warns of what another test imported
        runpy.run_module(command[2], run_name="__main__")


@pytest.fixture
def trained(
    store: str, migrated_store: Path, tiny: FrameStore, monkeypatch: pytest.MonkeyPatch
) -> dict[str, runs.Record]:
    """The runs of a line-up of one member, by stage and split."""
    monkeypatch.setitem(KINDS, "toy", "tests.training.toy_kind")
    monkeypatch.setitem(members.LINE_UPS, "toys", lambda: (TOY,))
    monkeypatch.setattr(repetition, "_execute", in_this_process)
    plain = repetition._store

    @contextmanager
    def migrated(folder: Path) -> Iterator[None]:
        shutil.copy(migrated_store, folder / "mlflow.db")
        with plain(folder):
            yield

    monkeypatch.setattr(repetition, "_store", migrated)
    typed = ["python", "-m", "training", "run", "--lineup", "toys", "--data", str(tiny.folder), "--trials", "6"]
    monkeypatch.setattr(sys, "orig_argv", typed)
    line_up.run("toys", tiny.folder, search=SearchSettings(trials=6), force=False, options=TorchOptions())
    return {run.name: run for run in runs.find_runs("tiny") if run.parent}


@pytest.mark.slow
def test_every_stage_of_a_line_up_has_the_same_result_and_the_store_is_left_alone(
    trained: dict[str, runs.Record], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def content() -> set[Path]:
        return {path for path in local_folder().rglob("*") if path.is_file() and not path.name.startswith("mlflow.db")}

    files, ids = content(), {run.run_id for run in runs.find_runs(finished=False)}
    for stage in ("pretrain", "finetune", "infer holdout", "merge holdout", "optimize", "fuse holdout", "fuse test"):
        reproduce(trained[stage].run_id, check=True)
        printed = capsys.readouterr().out
        assert "repeated with the same result: " in printed, stage
        assert ("lists.parquet" in printed) == stage.startswith(("merge", "fuse"))
    assert content() == files
    assert {run.run_id for run in runs.find_runs(finished=False)} == ids

    # Another seed gives other weights.
    monkeypatch.setitem(members.LINE_UPS, "toys", lambda: (replace(TOY, seed=1),))
    with pytest.raises(RuntimeError, match=r"results differ; compare code, data and device\n  checkpoint/"):
        reproduce(trained["pretrain"].run_id, check=True)


@pytest.mark.usefixtures("store")
def test_what_is_no_stage_cannot_be_checked() -> None:
    from tracking.writing import open_run

    with open_run("files", "evaluate", {"stage": "evaluate"}) as run:
        pass
    with pytest.raises(ValueError, match=r"\(FINISHED evaluate\) cannot be checked; give a finished stage"):
        reproduce(run.run_id, check=True)
