"""A file or a folder in numbered versions, written by `replacing` and read again only if it is whole."""

import errno
from pathlib import Path

from files.replacing import replacing

ENTRIES = ("a", "b", "deep/c")


def write(path: Path, kind: str, version: str) -> None:
    with replacing(path) as temporary:
        fill(temporary, kind, version)


def fill(path: Path, kind: str, version: str) -> None:
    if kind == "file":
        path.write_text(version * 1000)
        return
    for name in ENTRIES:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(version * 1000)


def read(path: Path) -> str:
    """The version of a whole file or folder; AssertionError for one that is in part, or of two versions."""
    if path.is_file():
        texts = [path.read_text()]
    else:
        assert {entry.relative_to(path).as_posix() for entry in path.rglob("*")} == {*ENTRIES, "deep"}
        texts = [(path / name).read_text() for name in ENTRIES]
    assert {len(text) for text in texts} == {1000}
    assert len(set("".join(texts))) == 1
    return texts[0][0]


def no_exchange(one: Path, other: Path) -> None:
    raise OSError(errno.EINVAL, "this file system exchanges nothing")
