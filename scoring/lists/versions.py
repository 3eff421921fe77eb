"""Open files again in another process: an opened file is pickled as its path and its version."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Opened = TypeVar("Opened")


def version_of(path: Path) -> int:
    """The time of a file's last change, in ns."""
    return os.stat(path).st_mtime_ns


def open_version(opener: Callable[[Path], Opened], path: Path, version: int) -> Opened:
    """Open a file that another process has opened; ValueError if it has been replaced or changed since."""
    if version_of(path) != version:
        raise ValueError(f"{path} has changed since it was opened; run the command again when nothing writes to it")
    return opener(path)
