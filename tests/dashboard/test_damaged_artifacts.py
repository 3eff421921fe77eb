"""Each artifact that a page or a command reads, once missing and once cut in half: a sentence with what to type.

The readers of an artifact are found by watching them on a store that lacks nothing.
"""

import re
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from tests.dashboard.searched import EXPERIMENT, LINEUP
from tests.dashboard.test_pages import opened, words
from tests.dashboard.test_states import PAGES
from tracking.runs import Record, find_run, find_runs

Artifact = tuple[str, str]  # the name of a run (`fuse holdout`), and the path in its artifacts
NAMED = ["--experiment", EXPERIMENT, "--lineup", LINEUP]
COMMANDS: Mapping[str, list[str]] = {
    "merge": ["scoring", "tracked", "merge", *NAMED],
    "optimize": ["scoring", "tracked", "optimize", *NAMED, "--trials", "7", "--polish", "21", "--out", "w.json"],
    "fuse": ["scoring", "tracked", "fuse", *NAMED, "--split", "holdout", "--out", "fused.csv"],
    "fuse test": ["scoring", "tracked", "fuse", *NAMED, "--split", "test", "--out", "test.csv"],
    "report": ["dashboard", "report", "--dataset", EXPERIMENT, "--lineup", LINEUP, "--out", "report.html"],
    "status": ["tracking", "status"],
    "export": ["tracking", "export", "runs.csv"],
}
# Without it the pages use that of the search.
OPTIONAL = {("fuse holdout", "judged_pairs.parquet", "remove")}
REMEDY = re.compile("; make it again: `python -m (scoring tracked|training infer) .*--force`")
SENTENCE = re.compile(f"error: [^\n]*{REMEDY.pattern}\n")


@pytest.fixture
def judgments(searched: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The judgments of the line-up, in the folder in which commands are typed."""
    shutil.copy(find_run(EXPERIMENT, stage="optimize").artifact("judgments.parquet"), tmp_path / "rated.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "rated.parquet"


def typed(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code of `python -m` these words, and what it says of errors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        patch.delitem(sys.modules, f"{words[0]}.__main__", raising=False)
        try:
            runpy.run_module(words[0], run_name="__main__")
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
    return code, capsys.readouterr().err


@contextmanager
def watched(read: set[Artifact]) -> Iterator[None]:
    """Within it, the artifacts that are read are added to `read`."""
    plain = Record.artifact

    def artifact(self: Record, path: str) -> Path:
        read.add((self.name, path))
        return plain(self, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Record, "artifact", artifact)
        yield


@contextmanager
def damaged(artifact: Artifact, damage: Callable[[Path], None]) -> Iterator[None]:
    """Within it, the artifact of each run of this name is damaged."""
    name, path = artifact
    files = [run.artifact(path) for run in find_runs(EXPERIMENT) if run.name == name]
    kept = {file: file.with_name(f"kept-{file.name}") for file in files}
    for file, copy in kept.items():
        shutil.copytree(file, copy) if file.is_dir() else shutil.copy(file, copy)
        damage(file)
    st.cache_data.clear()
    st.cache_resource.clear()
    yield
    for file, copy in kept.items():
        if file.exists():
            remove(file)
        copy.rename(file)


def remove(file: Path) -> None:
    shutil.rmtree(file) if file.is_dir() else file.unlink()


def halve(file: Path) -> None:
    for part in [*file.rglob("*.parquet")] if file.is_dir() else [file]:
        part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])


def visit(app: AppTest, page: str) -> str:
    """What a page says; it must be a page or a sentence."""
    app.switch_page(f"views/{page}.py").run()
    assert not app.exception, (page, app.exception)
    return (words(app) + " ".join(element.value for element in app.error)).replace("\\", "")


@pytest.mark.slow
def test_each_artifact_that_is_read_is_named_with_the_command_that_makes_it_again(
    judgments: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = {name: [*line] for name, line in COMMANDS.items()}
    for name in ("optimize", "fuse"):
        commands[name] += ["--judgments", str(judgments)]
    ids = {run.run_id for run in find_runs(finished=False)}
    app, readers = opened(dataset=EXPERIMENT, lineup=LINEUP), dict[str, set[Artifact]]()
    for page in PAGES:
        with watched(readers.setdefault(page, set())):
            visit(app, page)
    for name, line in commands.items():
        with watched(readers.setdefault(name, set())):
            assert typed(line, capsys)[0] == 0, name
    assert {run.run_id for run in find_runs(finished=False)} == ids  # all was done already
    silent = set()
    for artifact in sorted(set().union(*readers.values())):
        for damage in (remove, halve):
            with damaged(artifact, damage):
                said = ""
                for reader in (reader for reader, read in readers.items() if artifact in read):
                    if reader in PAGES:
                        said += visit(app, reader)
                        continue
                    code, text = typed(commands[reader], capsys)
                    assert code == 0 or SENTENCE.fullmatch(text), (artifact, text)
                    said += text
                if not REMEDY.search(said):
                    silent.add((*artifact, damage.__name__))
    assert {run.run_id for run in find_runs(finished=False)} == ids
    assert silent == OPTIONAL
