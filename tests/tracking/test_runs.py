from pathlib import Path

import pytest

from tracking.runs import find_run, find_runs, get_run
from tracking.writing import open_run


def test_artifacts_are_read_in_place(store: str, tmp_path: Path) -> None:
    with open_run("synthetic", "infer", {}) as run:
        run.text("x", "a.txt")
    assert get_run(run.run_id).artifact("a.txt").is_relative_to(tmp_path / "mlruns" / "artifacts" / "synthetic")
    with pytest.raises(ValueError, match=r"no artifact predictions/shift0\.parquet; run its stage"):
        get_run(run.run_id).artifact("predictions/shift0.parquet")


def test_finding_by_tags_gives_the_newest_finished(store: str) -> None:
    for name in ("first", "second"):
        with open_run("synthetic", name, {"stage": "finetune", "member": "o'neill"}):
            pass
    with open_run("audioset", "other data", {"stage": "finetune", "member": "o'neill"}):
        pass
    with open_run("synthetic", "still open", {"stage": "finetune", "member": "o'neill"}):
        assert find_run("synthetic", stage="finetune", member="o'neill").name == "second"
        assert len(find_runs("synthetic", finished=False, stage="finetune")) == 3
        assert [run.name for run in find_runs(member="o'neill")] == ["other data", "second", "first"]
    assert find_runs("nowhere") == []


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (
            {"stage": "finetune", "member": "netvlad"},
            "no finished finetune run for netvlad .*`python -m training finetune netvlad --lineup NAME --data DIR`",
        ),
        (
            {"stage": "optimize", "lineup": "demo"},
            "with lineup=demo; run "
            "`python -m scoring tracked optimize --experiment synthetic --lineup demo --judgments FILE`",
        ),
        (
            {"stage": "infer", "member": "netvlad", "lineup": "demo", "split": "test"},
            "`python -m training infer netvlad --lineup demo --data DIR --split test`",
        ),
        (
            {"kind": "ensemble"},
            "no finished ensemble run in the experiment synthetic.*`python -m training run --lineup NAME --data DIR`",
        ),
    ],
)
def test_a_missing_run_names_the_command_that_makes_it(store: str, tags: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_run("synthetic", **tags)


def test_an_unknown_run_is_an_error_in_a_sentence(store: str) -> None:
    with pytest.raises(ValueError, match="has no run 0123"):
        get_run("0123")
