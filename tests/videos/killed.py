"""Kill a process that replaces a frame store, before each call that it asks of the operating system.

`python -m tests.videos.killed FOLDER` writes the content of FOLDER/ready to FOLDER/store, which begins as a copy of
FOLDER/before (or does not exist). After each kill there must be a complete store or none, and the next writer must
clean up.
Prints the number of kills and the names of the datasets that were there after them (`nothing`: no store).

The children move a content that is written already: the threads of polars do not survive a fork.
"""

import itertools
import os
import shutil
import signal
import sys
from pathlib import Path

import filelock as filelock  # imported here, so that its import is none of the calls

from files import replacing
from videos.store import open_frames
from videos.store_writing import is_complete, new_store


def write(folder: Path) -> None:
    with new_store(folder / "store") as building:
        shutil.rmtree(building)
        os.rename(folder / "copy", building)


def name_of_whole_store(folder: Path) -> str:
    """The name of the dataset in `folder` / store; ValueError for a store in part."""
    if not is_complete(folder / "store", {}, force=False):
        return "nothing"
    store = open_frames(folder / "store")
    assert len(store.frames("frames/s.npy")) == store.videos["frames"].sum()
    return store.dataset.name


def copy_content(folder: Path) -> None:
    shutil.rmtree(folder / "copy", ignore_errors=True)
    shutil.copytree(folder / "ready" / "content-1", folder / "copy")


def kill_at(number: int) -> None:
    """Let this process be killed when it asks something of the operating system for the `number`-th time."""
    calls = itertools.count()
    sys.addaudithook(lambda event, arguments: next(calls) == number and os.kill(os.getpid(), signal.SIGKILL))


def main(folder: Path) -> None:
    replacing._flush_one = lambda path: None  # a kill loses nothing that is not on disk yet, and flushing is slow
    outcomes = set()
    for number in itertools.count():
        shutil.rmtree(folder / "store", ignore_errors=True)
        if (folder / "before").exists():
            shutil.copytree(folder / "before", folder / "store")
        copy_content(folder)
        child = os.fork()
        if not child:
            kill_at(number)
            write(folder)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        outcomes.add(name_of_whole_store(folder))
        if code == 0:
            break
        assert code == -signal.SIGKILL, code
        copy_content(folder)
        write(folder)
        assert name_of_whole_store(folder) == "y"
        left = {entry.name for entry in (folder / "store").iterdir()}
        assert len(left) == 2, (number, left)
    print(number, *sorted(outcomes))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
