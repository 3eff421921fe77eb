"""A folder of good files, the command line in it, and what is asked of every refusal."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.scoring.generated import judgments_of
from videos.dataset import Dataset

HEADER = b"Class,Segments\n"
CSV = HEADER + b"1,b:0 a:0\n2,c:0\n"
LISTS = {1: ["b:0", "a:0"], 2: ["c:0"]}
RELEVANCE = {(1, "a:0"): 1, (1, "b:0"): 0, (2, "c:0"): 1}
LONG = b"x" * 1_200_000  # a line of more than a million characters
Content = bytes | Callable[[Path], None]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The working folder, with good.csv, judgments.csv and a frame store's description `data` in it."""
    monkeypatch.chdir(tmp_path)
    Path("good.csv").write_bytes(CSV)
    judgments_of(RELEVANCE).write_csv("judgments.csv")
    data = tmp_path / "data"
    data.mkdir()
    Dataset("tiny", {"rgb": 2}, "uint8", 5, True, 300, "roll", ["x", "y", "z"], [1, 2], "digest").write(data)
    videos = {"video_id": ["a", "b", "c"], "split": ["test"] * 3, "file": ["f"] * 3, "first_frame": [0, 5, 10]}
    pl.DataFrame({**videos, "frames": [5] * 3}).write_parquet(data / "videos.parquet")
    return tmp_path


@pytest.fixture
def scoring(scoring, caplog):
    """The same; the errors begin with what was logged."""

    def call(*args: str) -> tuple[int, str, str]:
        caplog.clear()
        code, out, err = scoring(*args)
        return code, out, "".join(f"{message}\n" for message in caplog.messages) + err

    return call


def place(path: Path, content: Content) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def is_one_sentence(err: str) -> bool:
    error = err.splitlines()[-1]
    return error.startswith("error: ") and "Traceback" not in err and len(error) < 500 and err.count("error: ") == 1
