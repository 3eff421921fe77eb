"""Segment ids as integer codes: the code of an id is its row among all ids, sorted as UTF-8 bytes.

Ids of at most 8 bytes (YouTube-8M's `abcd:120` is one) are coded as 64-bit keys, which is much faster than sorting
strings (`kernels.text_keys`).
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from scoring.lists.kernels import KEY_BYTES, first_occurrences, number_keys, ranks_in, text_keys

NO_SEGMENTS = pl.Series("segment_id", [], dtype=pl.String)


def code_texts(texts: Sequence[bytes]) -> tuple[list[np.ndarray], pl.Series]:
    """Codes (u32) of the ids of each text, in its order, and the sorted ids that the codes index.

    A text is ids separated by blanks, in UTF-8, without NUL.
    """
    keys: list[np.ndarray] = []
    for text in texts:
        text_key = text_keys(text)
        if text_key is None:
            return code_ids([_split(text) for text in texts])
        keys.append(text_key)
    codes, distinct = _code_keys(np.concatenate([*keys, np.empty(0, dtype=np.uint64)]))
    return _parts(codes, keys), _strings(distinct)


def code_ids(lists: Sequence[pl.Series]) -> tuple[list[np.ndarray], pl.Series]:
    """`code_texts` for lists of ids, which may be any strings."""
    flat = pl.concat([NO_SEGMENTS, *(ids.alias("segment_id") for ids in lists)])
    text = (flat.str.join(" ").item() or "").encode()
    # n keys and n - 1 blanks: no id is empty, null or contains a blank.
    keys = text_keys(text) if b"\0" not in text and text.count(b" ") == len(flat) - 1 else None
    if keys is not None and len(keys) == len(flat):
        codes, _ = _code_keys(keys)
    else:
        codes = flat.rank("dense").cast(pl.UInt32).to_numpy() - np.uint32(1)
    rows = np.empty(int(codes.max(initial=0)) + 1 if len(codes) else 0, dtype=np.uint32)
    rows[codes] = np.arange(len(codes))  # one of the rows with this code
    return _parts(codes, lists), flat.gather(rows)


def known_codes(ids: pl.Series, segments: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Whether each id is in `segments` (bool), and its row there (u32; any number for an id that is not)."""
    if not len(ids) or not len(segments):
        return np.zeros(len(ids), dtype=bool), np.zeros(len(ids), dtype=np.uint32)
    rows = segments.search_sorted(ids).clip(0, len(segments) - 1)
    return (segments.gather(rows) == ids).to_numpy(), rows.to_numpy().astype(np.uint32)


def share_table(tables: Sequence[pl.Series]) -> tuple[list[np.ndarray | None], pl.Series]:
    """The union of these tables, and for each table the codes of its rows in the union; None if codes equal rows."""
    if all(table is tables[0] or table.equals(tables[0]) for table in tables[1:]):
        return [None] * len(tables), tables[0] if tables else NO_SEGMENTS
    codes, segments = code_ids(tables)
    return list(codes), segments


def union_of_segments(tables: Sequence[pl.Series]) -> pl.Series:
    """All ids of these tables, each once, sorted as UTF-8 bytes."""
    return share_table(tables)[1]


def check_segments(segments: pl.Series, source: str) -> None:
    """ValueError unless these are distinct ids, sorted as UTF-8 bytes."""
    if segments.dtype != pl.String or segments.null_count():
        raise ValueError(f"{source} must contain strings and no nulls")
    if len(segments) and segments[0] == "":
        raise ValueError(f"{source} contains an empty segment id; give each segment a name")
    if not (segments.slice(1) > segments.slice(0, max(len(segments) - 1, 0))).all():
        raise ValueError(f"{source} must contain each id once, sorted as UTF-8 bytes; write it with write_submission")


def first_places(codes: np.ndarray, segments: int) -> np.ndarray | None:
    """Positions of each code's first occurrence, in list order; None if no code is repeated.

    Codes are below `segments`.
    """
    first = first_occurrences(codes, segments)
    return None if first.all() else np.flatnonzero(first)


def find_in_text(text: bytes, ids: pl.Series) -> tuple[np.ndarray, int] | None:
    """The rank of each id in a text (u32, from 1; 0 if it is not listed), and how many repeated ids the text has.

    Repeated ids of the text take no rank. None if an id of the text is longer than a key.
    """
    keys = text_keys(text)
    if keys is None:
        return None
    _, distinct = number_keys(keys)
    short = (ids.str.len_bytes().is_between(1, KEY_BYTES) & ~ids.str.contains("[ \x00]")).to_numpy()
    ranks = np.zeros(len(ids), dtype=np.uint32)
    wanted = text_keys(" ".join(ids.filter(pl.Series(short)).to_list()).encode())
    assert wanted is not None, "ids of at most eight bytes have keys"
    ranks[short] = ranks_in(wanted, distinct)
    return ranks, len(keys) - len(distinct)


def _code_keys(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The code (u32) of each key, and the distinct keys, ascending."""
    numbers, distinct = number_keys(keys)
    order = np.argsort(distinct)
    codes = np.empty(len(distinct), dtype=np.uint32)
    codes[order] = np.arange(len(distinct))
    return codes[numbers], distinct[order]


def _parts(codes: np.ndarray, lists: Sequence) -> list[np.ndarray]:
    """The codes of each list, whose codes follow one another in `codes`."""
    return np.split(codes, np.cumsum([*map(len, lists)])[:-1])[: len(lists)]


def _split(text: bytes) -> pl.Series:
    ids = pl.Series("segment_id", [text.decode()]).str.split(" ").explode()
    return ids.filter(ids != "")


def _strings(keys: np.ndarray) -> pl.Series:
    """The ids of these keys."""
    if not len(keys):
        return NO_SEGMENTS
    padded = np.full((len(keys), KEY_BYTES + 1), ord(" "), dtype=np.uint8)
    padded[:, :KEY_BYTES] = keys.byteswap().view(np.uint8).reshape(-1, KEY_BYTES)
    return _split(padded[padded != 0].tobytes())
