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
    """Write a file, or a folder and all that is in it, from the operating system's buffers to disk."""
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
    """A new folder beside `path` and the descriptor of its locked file, which tells that its process is alive."""
    while True:
        place = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".replacing", dir=path.parent))
        try:
            lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:  # another process removed it before it was locked
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink:
            return place, lock
        os.close(lock)


def _clean(folder: Path) -> None:
    """Remove what killed processes left in `folder`; a folder that one of them had moved aside is moved back first."""
    with os.scandir(folder) as entries:
        places = [(Path(entry.path), match) for entry in entries if (match := PLACE.fullmatch(entry.name))]
    for place, match in places:
        try:
            lock = os.open(place / "lock", os.O_RDWR)
        except FileNotFoundError:
            with suppress(OSError):  # another process is writing to it or removes it
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
    """Remove a folder of `_new_place`; what was moved aside is moved back if nothing is at `path`."""
    if os.path.lexists(place / "old") and not os.path.lexists(path):
        try:
            os.rename(place / "old", path)
        except OSError as error:
            if error.errno not in OCCUPIED:  # another process was faster
                raise
    for content in ("new", "old"):  # before the lock, so that whoever is killed here leaves a place that can be told
        if (place / content).is_dir():
            shutil.rmtree(place / content)
    shutil.rmtree(place, ignore_errors=True)  # another process may have its lock open


def _move(new: Path, path: Path, aside: Path) -> None:
    """Move `new` to `path`; a folder that was there ends up under `new` or `aside`."""
    while True:
        try:
            os.replace(new, path)  # atomic for a file, and for a folder where nothing or an empty folder is
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
            if aside.is_dir():  # from the turn before: another process has put its own under `path` since
                shutil.rmtree(aside)
            os.rename(path, aside)


def _exchange(one: Path, other: Path) -> None:
    """Exchange two paths atomically; OSError where the file system or the operating system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        renameat2 = libc.renameat2
    except AttributeError:  # not Linux, or a C library of before 2018
        raise OSError(errno.ENOSYS, "renameat2 is missing") from None
    if renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one), None, str(other))
