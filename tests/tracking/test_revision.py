"""What git says about the code of a run, in a repository made for it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracking import revision
from tracking.runs import get_run
from tracking.writing import open_run


def git(folder: Path, *arguments: str) -> str:
    name = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    return subprocess.run(
        ["git", "-C", str(folder), *name, *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "repository"
    for name in ("training/loop.py", "tests/test_loop.py", "README.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("one\n")
    git(tmp_path, "init", "-q", str(folder))
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "one")
    monkeypatch.setattr(revision, "ROOT", folder)
    cached = (revision.revision, revision.difference, revision.changed_since)
    for function in cached:
        function.cache_clear()
    yield folder
    for function in cached:
        function.cache_clear()


def test_a_clean_checkout_has_no_difference(repository: Path, store: str) -> None:
    assert revision.revision() == (git(repository, "rev-parse", "HEAD"), "false")
    with open_run("synthetic", "pretrain", {}) as run:
        pass
    with pytest.raises(ValueError, match=r"no artifact code\.diff"):
        get_run(run.run_id).artifact("code.diff")


def test_a_run_of_changed_code_has_the_patch_that_makes_it(repository: Path, store: str, tmp_path: Path) -> None:
    (repository / "training/loop.py").write_text("two\n")
    (repository / "training/new.py").write_text("new\n")
    with open_run("synthetic", "pretrain", {}) as run:
        pass
    patch = get_run(run.run_id).artifact("code.diff")
    assert patch.read_text().startswith("# not in git, and not in this patch: training/new.py\n")
    git(repository, "checkout", "-q", "training/loop.py")
    git(repository, "apply", str(patch))
    assert (repository / "training/loop.py").read_text() == "two\n"


def test_only_code_that_may_change_results_has_changed(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    for name in ("training/loop.py", "tests/test_loop.py", "README.md"):
        (repository / name).write_text("two\n")
    git(repository, "commit", "-qam", "two")
    assert revision.changed_since(commit) == ["training/loop.py"]
    assert revision.changed_since("0" * 40) is None
