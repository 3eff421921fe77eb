"""Text files as bytes: plain or gzip, recognised by their first two bytes and not by their name. Quotes for errors."""

import gzip
import mmap
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

GZIP = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"
QUOTED = 60  # characters of a file that an error quotes


def map_text(path: Path) -> mmap.mmap:
    """The bytes of a file, memory-mapped; a compressed one is unpacked into an unnamed temporary file first."""
    try:
        with path.open("rb") as file:
            if file.read(2) != GZIP:
                return _mapped(file.fileno(), path)
        with gzip.open(path, "rb") as packed, tempfile.TemporaryFile() as plain:
            shutil.copyfileobj(packed, plain, 1 << 20)
            plain.flush()
            return _mapped(plain.fileno(), path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is a damaged gzip file ({error}); copy it again") from error


def read_text(path: Path) -> str:
    """The whole text of a file, without a byte order mark."""
    with map_text(path) as content:
        try:
            return content[:].decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error


@contextmanager
def create(path: Path, compressed: bool) -> Iterator[IO[bytes]]:
    """A new file to write bytes to. Equal content gives equal bytes: gzip's time stamp and file name are left out."""
    with path.open("wb") as file:
        if not compressed:
            yield file
            return
        with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0) as packed:
            yield packed  # pyright: ignore


def brief(text: str) -> str:
    """The beginning of a text, for an error: a line may have millions of characters."""
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}..."


def reason(error: BaseException) -> str:
    """The first line of a library's error."""
    return str(error).strip().partition("\n")[0][:200]


def _mapped(descriptor: int, path: Path) -> mmap.mmap:
    try:
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except ValueError as error:  # a file of no bytes cannot be mapped
        raise ValueError(f"{path} is empty; give a file with content") from error
