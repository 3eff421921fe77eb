"""Kaggle CSV: a header `Class,Segments`, then one line per class with its segment ids, best first, between blanks.

Read without loss or refused. Accepted: LF or CRLF, a byte order mark, gzip, a pair of quotes around a field, blank
lines, more than one blank between ids, an empty list, any order of classes, names as classes (`classes.py`), ids
without `:`. Refused: another header, an empty class or one with a blank, a class given twice, a line of other than two
fields, any other quote, text that is not UTF-8.
"""

import mmap
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from scoring.lists.classes import class_column
from scoring.lists.ids import NO_SEGMENTS, code_texts, find_in_text, union_of_segments
from scoring.lists.ranked import ClassId, Repeats, Submission, class_blocks, from_repeating
from scoring.lists.text import BOM, brief, create, map_text
from scoring.lists.versions import open_version, version_of

HEADER = b"Class,Segments"
FORBIDDEN = {b",": "comma", b'"': "quote", b"\t": "tab", b"\0": "NUL", b"\r": "line end"}  # in a list
AROUND = b" \r"  # ignored around a field and around its quotes
LINES = 32  # read before their memory is released; a line of a large file is about 1 MB


def begins_with_header(path: Path) -> bool:
    """Whether the first line of a file is the header of a Kaggle CSV."""
    with map_text(path) as content:
        start = len(BOM) if content[: len(BOM)] == BOM else 0
        return _is_header(content[start : start + 100].partition(b"\n")[0])


class Lines:
    """The position of each class's list in a Kaggle CSV. A list is parsed on demand."""

    def __init__(self, path: Path):
        self._path = path
        self._content = map_text(path)
        places: dict[str, tuple[int, int, int]] = {}  # class to (line, first byte, end) of its ids
        start = len(BOM) if self._content[: len(BOM)] == BOM else 0
        number = 1
        while start < len(self._content):
            end = self._content.find(b"\n", start)
            end = len(self._content) if end < 0 else end
            head = self._content[start : min(end, start + 100)]
            if number == 1:
                self._check_header(head)
            elif head.strip(AROUND) or self._content[start:end].strip(AROUND):
                name = self._class_of(head, number)
                if name in places:
                    first = places[name][0]
                    raise ValueError(f"{path}: class {name} is on lines {first} and {number}; keep one of them")
                places[name] = (number, start + head.index(b",") + 1, end)
            start, number = end + 1, number + 1
            if number % LINES == 0:  # drop what was read: memory would grow with the file
                self._content.madvise(mmap.MADV_DONTNEED)
        if not places:
            raise ValueError(f"{path} contains no classes; give each class a line below the header")
        self._places: dict[ClassId, tuple[int, int, int]] = dict(
            zip(class_column(pl.Series(places.keys(), dtype=pl.String)).to_list(), places.values(), strict=True)
        )
        self.classes = sorted(self._places)
        self._content.madvise(mmap.MADV_DONTNEED)

    def text(self, class_id: ClassId) -> bytes:
        """The ids of a class as in the file: best first, separated by blanks, in UTF-8."""
        number, start, end = self._places[class_id]
        where = f"{self._path}, line {number}"
        text = _unquoted(self._content[start:end])
        self._content.madvise(mmap.MADV_DONTNEED)
        if text.startswith(b'"') or text.endswith(b'"'):
            raise ValueError(
                f"{where}: an unpaired quote is at an end of the segments of class {class_id}; leave a pair or none"
            )
        for wrong, name in FORBIDDEN.items():
            if wrong in text:
                raise ValueError(f"{where}: the segments of class {class_id} contain a {name}; put blanks between them")
        if not text.isascii():
            try:
                text.decode()
            except UnicodeDecodeError as error:
                raise ValueError(f"{where}: class {class_id} is not UTF-8 text; save it as UTF-8") from error
        return text

    def _check_header(self, line: bytes) -> None:
        if not _is_header(line):
            raise ValueError(
                f"{self._path} begins with {_beginning(line)}; "
                f"the first line of a Kaggle CSV is {HEADER.decode()}, in UTF-8 and ended by LF or CRLF"
            )

    def _class_of(self, line: bytes, number: int) -> str:
        field, comma, _ = line.partition(b",")
        name = _unquoted(field)
        if not comma or not name or any(character in b' \t\0"' for character in name):
            raise ValueError(
                f"{self._path}, line {number} begins with {_beginning(line)}; "
                "write a class without blanks (1, q7), a comma, and its segments"
            )
        try:
            return name.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{self._path}, line {number} is not UTF-8 text; save it as UTF-8") from error


def _is_header(line: bytes) -> bool:
    return [_unquoted(field) for field in line.split(b",")] == HEADER.split(b",")


def _unquoted(field: bytes) -> bytes:
    """A field without the blanks around it and without one pair of quotes; quotes inside it stay."""
    field = field.strip(AROUND)
    if len(field) > 1 and field.startswith(b'"') and field.endswith(b'"'):
        field = field[1:-1].strip(AROUND)
    return field


def _beginning(line: bytes) -> str:
    return repr(brief(line.decode(errors="replace")))


def write(lists: Iterable[tuple[ClassId, pl.Series]], path: Path, compressed: bool) -> None:
    """Write one line per class with its ranked ids, in the order given."""
    with create(path, compressed) as out:
        out.write(HEADER + b"\n")
        for class_id, ids in lists:
            text = (ids.str.join(" ").item() or "").encode()
            if text.count(b" ") > max(len(ids) - 1, 0) or any(wrong in text for wrong in (*FORBIDDEN, b"\n")):
                raise ValueError(
                    f"{path.name}: class {class_id} has a segment id with a blank, comma, quote, tab, NUL or line end, "
                    "which a Kaggle CSV cannot contain; write Parquet instead"
                )
            if re.search(r'[ \t\r\n\v\f,"\0]', name := str(class_id)):
                raise ValueError(
                    f"{path.name}: class {name!r} has a blank, comma or quote, which a Kaggle CSV cannot contain; "
                    "write Parquet instead"
                )
            out.write(name.encode() + b"," + text + b"\n")


class KaggleFile:
    """An opened Kaggle CSV. Lists are read on demand. Pickles as its path."""

    block = 1  # the table of segments of a single class stays in the processor's cache

    def __init__(self, path: Path):
        self.path, self._version = path, version_of(path)
        self._lines = Lines(path)
        self.repeats = Repeats(str(path))
        self.classes = self._lines.classes

    def __reduce__(self) -> tuple:
        return open_version, (KaggleFile, self.path.absolute(), self._version)

    @property
    def segments(self) -> pl.Series:
        """The ids of all classes; reads the whole file."""
        tables = [NO_SEGMENTS]
        for block in class_blocks([self]):
            tables.append(self.read(block).segments)
            if sum(map(len, tables[1:])) > len(tables[0]) + 1_000_000:  # united rarely: time is linear in the ids
                tables = [union_of_segments(tables)]
        return union_of_segments(tables)

    def texts(self, class_ids: Sequence[ClassId]) -> dict[ClassId, bytes]:
        known = set(self.classes)
        return {class_id: self._lines.text(class_id) for class_id in class_ids if class_id in known}

    def read(self, class_ids: Sequence[ClassId]) -> Submission:
        return read_together([self], class_ids)[0]

    def find(self, wanted: Mapping[ClassId, pl.Series]) -> dict[ClassId, np.ndarray]:
        ranks, repeats = {}, {}
        for class_id, text in self.texts(list(wanted)).items():
            result = find_in_text(text, wanted[class_id])
            if result is None:
                ranks |= self.read([class_id]).find(wanted)
            else:
                ranks[class_id], repeats[class_id] = result
        self.repeats.warn(repeats)
        return ranks


def read_together(files: Sequence[KaggleFile], class_ids: Sequence[ClassId]) -> list[Submission]:
    """These classes of several files, over one table of segments."""
    texts = [file.texts(class_ids) for file in files]
    codes, segments = code_texts([text for file_texts in texts for text in file_texts.values()])
    remaining = iter(codes)
    ranked = [{class_id: next(remaining) for class_id in file_texts} for file_texts in texts]
    return [from_repeating(lists, segments, file.repeats) for file, lists in zip(files, ranked, strict=True)]
