import json
import shlex
from pathlib import Path

import pytest

from tracking.commands import reproduce as command
from tracking.commands.reproduce import reproduce
from tracking.store import client
from tracking.writing import open_run

pytestmark = pytest.mark.usefixtures("store")


def made(typed: str, params: dict[str, str], dirty: str = "false", commit: str = "c" * 40) -> str:
    with open_run("synthetic", "stage", {"data_digest": "d" * 64}) as run:
        run.params(params)
        run.text("a patch", "code.diff")
        run.tags({"command": typed, "dirty": dirty, "commit": commit})
    return run.run_id


def test_the_commands_come_in_their_order_each_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "revision", lambda: ("c" * 40, "false"))
    whole = "python -m training run --lineup demo"
    start = made(whole, {})
    tuned = made(whole, {"start_run": start})
    fused = made("python -m scoring tracked fuse", {"infer_run/bert": tuned})
    reproduce(fused)
    assert capsys.readouterr().out.splitlines() == [
        f"git checkout {'c' * 40}",
        "python -m pip install -r requirements.txt",
        whole,
        "python -m scoring tracked fuse",
    ]


def test_what_is_another_here_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "revision", lambda: ("b" * 40, "true"))
    (tmp_path / "dataset.json").write_text(json.dumps({"digest": "e" * 64}))
    typed = shlex.join(["python", "-m", "training", "pretrain", "bert", "--data", str(tmp_path)])
    run = made(typed, {"start_run": "0" * 32}, dirty="true")
    reproduce(run)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        f"# the run {'0' * 32} is not in the store any more",
        f"# this checkout is at {'b' * 40}, with changes",
        f"git checkout {'c' * 40}",
    ]
    assert lines[3].startswith("git apply ")
    assert Path(lines[3].split()[2]).read_text() == "a patch"
    assert lines[5:] == [f"# {tmp_path / 'dataset.json'} has the digest {'e' * 64}, the run's data {'d' * 64}", typed]
    assert client().get_run(run).info.status == "FINISHED"
