"""Segment ids as integer codes: the code of an id is its row among all ids, sorted as UTF-8 bytes.

Ids of at most 8 bytes (YouTube-8M's `abcd:120` is one) are coded as 64-bit keys, without a string in between: a key is
the id's bytes, the first the most significant, so that comparing keys is comparing ids.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

NO_SEGMENTS = pl.Series("segment_id", [], dtype=pl.String)

_BLANK, _WIDTH = 32, 8
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: multiplying spreads keys that differ in a few bytes
# Keeps the first n bytes of a key.
_FIRST = np.array([0] + [2**64 - 2 ** (8 * (_WIDTH - n)) for n in range(1, _WIDTH + 1)], dtype=np.uint64)


def code_texts(texts: Sequence[bytes]) -> tuple[list[np.ndarray], pl.Series]:
    """Codes (u32) of the ids in each text, in its order, and the table of segments that they are rows of.

    A text is ids with blanks between, in UTF-8, without NUL.
    """
    keys = [_keys(text) for text in texts]
    if any(of_text is None for of_text in keys):
        return code_ids([_split(text) for text in texts])
    return _code_keys([of_text for of_text in keys if of_text is not None])


def code_ids(lists: Sequence[pl.Series]) -> tuple[list[np.ndarray], pl.Series]:
    """The same for lists of ids."""
    flat = pl.concat([NO_SEGMENTS, *(ids.alias("segment_id") for ids in lists)])
    segments = flat.unique().sort()
    starts = np.cumsum([0, *map(len, lists)])
    return np.split(codes_of(flat, segments), starts[1:-1])[: len(lists)], segments


def codes_of(ids: pl.Series, segments: pl.Series) -> np.ndarray:
    """The row of each id among `segments`, which hold them all (u32)."""
    table = pl.DataFrame({"segment_id": segments}).with_row_index("code")
    wanted = pl.DataFrame({"segment_id": ids})
    return wanted.join(table, on="segment_id", how="left", maintain_order="left")["code"].to_numpy()


def known_codes(ids: pl.Series, segments: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Whether each id is among `segments` (bool), and its row there (u32, any number where it is not)."""
    if not len(ids) or not len(segments):
        return np.zeros(len(ids), dtype=bool), np.zeros(len(ids), dtype=np.uint32)
    rows = segments.search_sorted(ids).clip(0, len(segments) - 1)
    return (segments.gather(rows) == ids).to_numpy(), rows.to_numpy().astype(np.uint32)


def union_of_segments(tables: Sequence[pl.Series]) -> pl.Series:
    """All ids of these tables, each once, sorted as UTF-8 bytes."""
    if all(table is tables[0] or table.equals(tables[0]) for table in tables[1:]):
        return tables[0] if tables else NO_SEGMENTS
    return pl.concat([table.alias("segment_id") for table in tables]).unique().sort()


def check_segments(segments: pl.Series, source: str) -> None:
    """ValueError unless these are distinct ids, sorted as UTF-8 bytes."""
    if segments.dtype != pl.String or segments.null_count():
        raise ValueError(f"{source} must hold strings and no nulls")
    if len(segments) and segments[0] == "":
        raise ValueError(f"{source} holds an empty segment id; give each segment a name")
    if not (segments.slice(1) > segments.slice(0, max(len(segments) - 1, 0))).all():
        raise ValueError(f"{source} must hold each id once, sorted as UTF-8 bytes; write it with write_submission")


def first_places(codes: np.ndarray) -> np.ndarray | None:
    """Index of each code's first place, in list order; None where no code stands twice."""
    ordered = np.sort(codes)
    if not (ordered[1:] == ordered[:-1]).any():
        return None
    _, first = np.unique(codes, return_index=True)
    return np.sort(first)


def find_in_text(text: bytes, ids: pl.Series) -> tuple[np.ndarray, int] | None:
    """The rank of each id in a text (from 1; 0 where it is not there; repeated ids of the text do not count), and how
    many ids the text repeats. None when the text has an id that is longer than a key."""
    keys = _keys(text)
    if keys is None:
        return None
    places = first_places(keys)
    repeats = 0 if places is None else len(keys) - len(places)
    short = (ids.str.len_bytes().is_between(1, _WIDTH) & ~ids.str.contains("[ \x00]")).to_numpy()
    ranks = np.zeros(len(ids), dtype=np.uint32)
    if short.any():
        wanted = _keys(" ".join(ids.filter(pl.Series(short)).to_list()).encode())
        assert wanted is not None, "ids of at most eight bytes have keys"
        ranks[short] = find_codes(wanted, keys if places is None else keys[places])
    return ranks, repeats


def find_codes(wanted: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The rank of each wanted code in a list of distinct codes (u32, from 1; 0 where it is not there)."""
    # Nearly all of the list is told to be unwanted by 16 bits of a hash.
    seen = np.zeros(1 << 16, dtype=bool)
    seen[_hash16(wanted)] = True
    places = np.flatnonzero(seen[_hash16(codes)])
    ordered = np.sort(wanted)
    ranks = np.zeros(len(wanted), dtype=np.uint32)
    if len(wanted):
        slots = np.minimum(np.searchsorted(ordered, codes[places]), len(ordered) - 1)
        same = ordered[slots] == codes[places]
        rank_of = np.zeros(len(ordered), dtype=np.uint32)
        rank_of[slots[same]] = places[same] + 1
        ranks[:] = rank_of[np.searchsorted(ordered, wanted)]
    return ranks


def _hash16(codes: np.ndarray) -> np.ndarray:
    if codes.dtype == np.uint64:
        return ((codes * _GOLDEN) >> np.uint64(48)).astype(np.uint16)
    return codes.astype(np.uint16)  # codes of segments: the low bits are as good as any


def _keys(text: bytes) -> np.ndarray | None:
    """The key of each id of a text; None when one is longer than a key."""
    padded = np.frombuffer(text + b" " * _WIDTH, dtype=np.uint8)
    ends = np.flatnonzero(padded[: len(text) + 1] == _BLANK)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts
    if lengths.max() > _WIDTH:
        return None
    # Eight bytes from every byte on, seen as one integer, without a copy.
    windows = np.ndarray((len(padded) - _WIDTH + 1,), dtype="<u8", buffer=padded, strides=(1,))
    keys = windows[starts].byteswap() & _FIRST[lengths]
    return keys[lengths > 0] if lengths.min() == 0 else keys


def _split(text: bytes) -> pl.Series:
    ids = pl.Series("segment_id", [text.decode()]).str.split(" ").explode()
    return ids.filter(ids != "")


def _code_keys(keys: Sequence[np.ndarray]) -> tuple[list[np.ndarray], pl.Series]:
    table = np.sort(np.concatenate([*keys, np.empty(0, dtype=np.uint64)]))
    table = table[np.concatenate([[True], table[1:] != table[:-1]])] if len(table) else table
    look_up = _Rows(table)
    return [look_up(of_text) for of_text in keys], _strings(table)


class _Rows:
    """The row of a key in a table of distinct keys: a hash table with open addressing, for whole arrays at a time."""

    def __init__(self, table: np.ndarray):
        bits = max(4, int(2 * len(table)).bit_length())
        self._shift, self._last = np.uint64(64 - bits), (1 << bits) - 1
        self._keys = np.zeros(1 << bits, dtype=np.uint64)  # 0 is no id's key: a slot that is free
        self._rows = np.zeros(1 << bits, dtype=np.uint32)
        left, slots = np.arange(len(table)), self._slots(table)
        while len(left):
            free = self._keys[slots] == 0
            self._keys[slots[free]] = table[left[free]]  # of several keys for one slot the last stays
            settled = self._keys[slots] == table[left]
            self._rows[slots[settled]] = left[settled]
            left, slots = left[~settled], (slots[~settled] + 1) & self._last

    def __call__(self, keys: np.ndarray) -> np.ndarray:
        slots = self._slots(keys)
        wrong = np.flatnonzero(self._keys[slots] != keys)
        while len(wrong):
            slots[wrong] = (slots[wrong] + 1) & self._last
            wrong = wrong[self._keys[slots[wrong]] != keys[wrong]]
        return self._rows[slots]

    def _slots(self, keys: np.ndarray) -> np.ndarray:
        return ((keys * _GOLDEN) >> self._shift).astype(np.int64)


def _strings(keys: np.ndarray) -> pl.Series:
    """The ids of these keys."""
    if not len(keys):
        return NO_SEGMENTS
    padded = np.full((len(keys), _WIDTH + 1), _BLANK, dtype=np.uint8)
    padded[:, :_WIDTH] = keys.byteswap().view(np.uint8).reshape(-1, _WIDTH)
    return _split(padded[padded != 0].tobytes())
