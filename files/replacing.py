"""Atomic replacement of a file or folder: the only place that writes under a temporary name and renames."""

import ctypes
import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PLACE = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}\.replacing")
OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR)  # rename(2) replaces no folder with content
UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # <fcntl.h>, <linux/fs.h>


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces the file or folder `path` if the block succeeds and is removed otherwise.

    The new content is flushed to disk before it replaces the old, so that a killed process or a power cut leaves the
    old or the new content under `path`, never a part. The temporary path has the name of `path`, is on the same file
    system, and does not exist yet. If two processes replace the same path, the later one wins.

    A folder is exchanged by Linux's renameat2(RENAME_EXCHANGE). Where the file system or the operating system lacks
    it, the old folder is moved aside first: a process killed between the two moves leaves nothing under `path`, and
    the next `replacing` of any path in the same folder moves the old folder back.

    What a killed process left is removed by the next `replacing` of any path in the same folder.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _clean(path.parent)
    place, lock = _new_place(path)
    try:
        temporary = place / "new" / path.name
        temporary.parent.mkdir()
        yield temporary
        flush(temporary)
        _move(temporary, path, aside=place / "old")
        _flush_one(path.parent)
    finally:
        _remove_place(place, path)
        os.close(lock)


def flush(path: Path) -> None:
    """Flush a file, or a folder with its content, to disk (fsync)."""
    if path.is_dir() and not path.is_symlink():
        for entry in path.iterdir():
            flush(entry)
    if not path.is_symlink():
        _flush_one(path)


def _flush_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _new_place(path: Path) -> tuple[Path, int]:
    """A new folder next to `path`, and the descriptor of its lock file: locked means that its process is alive."""
    while True:
        place = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".replacing", dir=path.parent))
        try:
            lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:  # another process removed the folder before it was locked
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink:
            return place, lock
        os.close(lock)


def _clean(folder: Path) -> None:
    """Remove what killed processes left in `folder`; first move back a folder that one of them had moved aside."""
    with os.scandir(folder) as entries:
        places = [(Path(entry.path), match) for entry in entries if (match := PLACE.fullmatch(entry.name))]
    for place, match in places:
        try:
            lock = os.open(place / "lock", os.O_RDWR)
        except FileNotFoundError:
            with suppress(OSError):  # another process is creating or removing it
                place.rmdir()
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # its process is alive
            continue
        else:
            _remove_place(place, folder / match["name"])
        finally:
            os.close(lock)


def _remove_place(place: Path, path: Path) -> None:
    """Remove a folder made by `_new_place`; move its `old` back to `path` if nothing exists there."""
    if os.path.lexists(place / "old") and not os.path.lexists(path):
        try:
            os.rename(place / "old", path)
        except OSError as error:
            if error.errno not in OCCUPIED:  # another process was faster
                raise
    for content in ("new", "old"):  # before the lock: a process killed here leaves a folder that `_clean` recognises
        if (place / content).is_dir():
            shutil.rmtree(place / content)
    shutil.rmtree(place, ignore_errors=True)  # another process may have its lock open


def _move(new: Path, path: Path, aside: Path) -> None:
    """Move `new` to `path`; an existing folder there ends up at `new` or `aside`."""
    while True:
        try:
            os.replace(new, path)  # atomic for a file, and for a folder if `path` is missing or an empty folder
            return
        except OSError as error:
            if error.errno not in OCCUPIED:
                raise
        try:
            _exchange(new, path)
            return
        except FileNotFoundError:
            if not os.path.lexists(new):
                raise
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            if aside.is_dir():  # from the previous iteration: another process has replaced `path` since
                shutil.rmtree(aside)
            with suppress(FileNotFoundError):  # another process has just moved it aside: nothing is in the way
                os.rename(path, aside)


def _exchange(one: Path, other: Path) -> None:
    """Exchange two paths atomically; OSError if the file system or the operating system does not support it."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        renameat2 = libc.renameat2
    except AttributeError:  # not Linux, or a C library from before 2018
        raise OSError(errno.ENOSYS, "renameat2 is missing") from None
    if renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one), None, str(other))
