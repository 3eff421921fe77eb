"""Standard input (`-`) and pipes, copied to a file first: files are mapped, and read several times."""

import atexit
import shutil
import sys
import tempfile
from pathlib import Path

STREAM = Path("-")  # standard input or output on a command line


def local_file(path: Path) -> Path:
    """`path` if it is a file or a folder; for `-`, pipes and devices a copy that is removed when the process ends.

    ValueError if standard input has no content or was read before.
    """
    if path != STREAM and (path.is_file() or path.is_dir() or not path.exists()):
        return path
    folder = tempfile.mkdtemp(prefix="scoring-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy = Path(folder) / ("stdin" if path == STREAM else path.name)
    with copy.open("wb") as file:
        if path == STREAM:
            shutil.copyfileobj(sys.stdin.buffer, file)
        else:
            with path.open("rb") as pipe:
                shutil.copyfileobj(pipe, file)
    if path == STREAM and not copy.stat().st_size:
        raise ValueError("standard input is empty; pipe a file into the command, and give `-` only once")
    return copy
