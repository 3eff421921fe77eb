"""Coded lists in Parquet with one uncompressed page per list, which is read without decoding.

Parquet stores two levels beside each value of a list, and decoding them takes ten times as long as reading the values.
In a page without compression, dictionary and nulls, the values are the last bytes as they lie in memory (Apache
Parquet, `Data Pages` and `Plain encoding`). Any reader of Parquet reads such a file.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pyarrow.parquet import FileMetaData

MARK = {b"pages": b"one per list"}  # in the metadata of the file; other writers do not promise it
# Options of pyarrow's ParquetWriter.
WRITER: dict[str, Any] = {"compression": "none", "use_dictionary": False, "data_page_size": 2**30}


class Pages:
    """The lists of a marked file with one list per row group. Thread-safe."""

    def __init__(self, path: Path, metadata: "FileMetaData"):
        import pyarrow

        self._metadata, self._file = metadata, pyarrow.OSFile(str(path))

    def read(self, row: int, column: int, dtype: Any) -> np.ndarray | None:
        """A list of a type of 4 bytes; None if the file's statistics say that it has other values."""
        chunk = self._metadata.row_group(row).column(column)
        statistics = chunk.statistics
        if statistics.null_count:  # an empty list has one level and no value
            return np.empty(0, dtype=dtype)
        size = chunk.num_values * 4
        if size > chunk.total_compressed_size:  # another encoding
            return None
        end = chunk.data_page_offset + chunk.total_compressed_size
        values = np.frombuffer(self._file.read_at(size, end - size), dtype=dtype)
        known = statistics.has_min_max and (values.min(), values.max()) == (statistics.min, statistics.max)
        return values if known else None


def pages_of(path: Path, metadata: "FileMetaData") -> Pages | None:
    """The pages of a marked file with at least one list; None for any other."""
    if not MARK.items() <= (metadata.metadata or {}).items() or metadata.num_row_groups != metadata.num_rows:
        return None
    chunks = [metadata.row_group(0).column(column) for column in range(metadata.num_columns)]  # one writer, all alike
    plain = all(chunk.compression == "UNCOMPRESSED" and not chunk.has_dictionary_page for chunk in chunks)
    return Pages(path, metadata) if plain else None
