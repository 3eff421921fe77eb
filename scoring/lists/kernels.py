"""The innermost loops of scoring, compiled by numba at their first call.

`python -m scoring.lists.kernels` compiles all of them into numba's cache, which `make` does at installation. Importing
this module loads no numba; a command loads the kernels that it calls. tests/scoring/lists/test_kernels.py compares each
public function with plain NumPy.
"""

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ParamSpec, TypeVar, get_type_hints

import numpy as np
from numpy.typing import NDArray

U8, U32, U64 = NDArray[np.uint8], NDArray[np.uint32], NDArray[np.uint64]
I64, F64, Bool = NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]
P = ParamSpec("P")
R = TypeVar("R")

KEY_BYTES = 8  # the longest id that fits into a 64-bit key
_WRITTEN = "written by the kernel"
_TYPES: dict[Any, type] = {
    **{U8: np.uint8, U32: np.uint32, U64: np.uint64, I64: np.int64, F64: np.float64, Bool: np.bool_},
    **{int: np.int64, float: np.float64},
}
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: spreads keys that differ in a few bytes
_ONE = np.uint64(1)
_GROUP = np.uint64(14)  # the scores of 2^14 segments (128 KiB) fit into a core's cache
_DIGIT, _DIGITS = 11, np.uint64(1 << 11)  # of a radix sort

_lock = threading.Lock()
_loaders: list[Callable[[], Any]] = []


def _compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function for its annotated types at its first call. It runs without Python's lock.

    Kernels allocate no memory, which halves the time to compile them.
    """

    @functools.cache
    def load() -> Callable[P, R]:
        import numba

        signature = []
        for name, hint in get_type_hints(function, include_extras=True).items():
            written = getattr(hint, "__metadata__", None) == (_WRITTEN,)
            hint = hint.__origin__ if written else hint
            scalar = numba.from_dtype(np.dtype(_TYPES.get(hint, np.int64)))
            kind = scalar if hint in (int, float) else numba.types.Array(scalar, 1, "C", readonly=not written)
            signature += [] if name == "return" else [kind]
        options = {"nogil": True, "error_model": "numpy"}
        try:
            return numba.njit(tuple(signature), cache=True, **options)(function)
        except RuntimeError:  # no folder is writable for numba's cache
            return numba.njit(tuple(signature), **options)(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with _lock:
            kernel = load()
        return kernel(*args, **kwargs)

    _loaders.append(load)
    return call


def compile_all() -> None:
    """Compile every kernel, or load it from numba's cache."""
    for load in _loaders:
        load()


def text_keys(text: bytes) -> U64 | None:
    """The key of each id of a text (ids separated by blanks); None if an id is longer than a key.

    A key is the id's bytes, the first the most significant: keys order as ids do.
    """
    keys = np.empty((len(text) + 1) // 2, dtype=np.uint64)
    count = _text_keys(np.frombuffer(text, dtype=np.uint8), keys)
    return None if count < 0 else keys[:count]


@_compiled
def _text_keys(text: U8, keys: Annotated[U64, _WRITTEN]) -> int:
    count = 0
    length = 0
    key = np.uint64(0)
    for byte in text:
        if byte == 32:
            if length:
                keys[count] = key << np.uint64(64 - 8 * length)
                count += 1
            length = 0
            key = np.uint64(0)
        else:
            if length == 8:
                return -1
            length += 1
            key = (key << np.uint64(8)) | np.uint64(byte)
    if length:
        keys[count] = key << np.uint64(64 - 8 * length)
        count += 1
    return count


def number_keys(keys: U64) -> tuple[U32, U64]:
    """The number of each key, from 0 in the order of first occurrence, and the distinct keys in that order.

    Keys are above 0.
    """
    bits = max(4, (2 * len(keys)).bit_length())
    numbers, distinct = np.empty(len(keys), dtype=np.uint32), np.empty(len(keys), dtype=np.uint64)
    slots = np.zeros(1 << bits, dtype=np.uint32)
    return numbers, distinct[: _number_keys(keys, 64 - bits, slots, numbers, distinct)]


@_compiled
def _number_keys(
    keys: U64,
    shift: int,
    slots: Annotated[U32, _WRITTEN],
    numbers: Annotated[U32, _WRITTEN],
    distinct: Annotated[U64, _WRITTEN],
) -> int:
    # A hash table with open addressing. A slot has the number of its key, from 1; 0 is an empty slot.
    last = np.uint64(len(slots) - 1)
    count = 0
    for place in range(len(keys)):
        key = keys[place]
        slot = (key * _GOLDEN) >> np.uint64(shift)
        while slots[slot] != 0 and distinct[slots[slot] - _ONE] != key:
            slot = (slot + _ONE) & last
        if slots[slot] == 0:
            distinct[count] = key
            count += 1
            slots[slot] = count
        numbers[place] = slots[slot] - _ONE
    return count


def ranks_in(wanted: U64, keys: U64) -> U32:
    """The rank of each wanted key in a list of distinct keys, from 1; 0 if it is not listed.

    Keys are below 2^64 - 1.
    """
    # Most keys of a long list are not wanted: with most slots empty, they find an empty slot at once.
    bits = max(6, (16 * len(wanted)).bit_length())
    slots, slot_ranks = np.zeros(1 << bits, dtype=np.uint64), np.zeros(1 << bits, dtype=np.uint32)
    ranks = np.empty(len(wanted), dtype=np.uint32)
    _ranks_in(wanted, keys, 64 - bits, slots, slot_ranks, ranks)
    return ranks


@_compiled
def _ranks_in(
    wanted: U64,
    keys: U64,
    shift: int,
    slots: Annotated[U64, _WRITTEN],
    slot_ranks: Annotated[U32, _WRITTEN],
    ranks: Annotated[U32, _WRITTEN],
) -> None:
    # A slot contains a key + 1, since 0 is a key; 0 is an empty slot. Turn 0 inserts the wanted keys, turn 1 stores the
    # rank of each listed key that is wanted, turn 2 reads the ranks of the wanted keys.
    last = np.uint64(len(slots) - 1)
    for turn in range(3):
        for place in range(len(keys) if turn == 1 else len(wanted)):
            key = (keys[place] if turn == 1 else wanted[place]) + _ONE
            slot = (key * _GOLDEN) >> np.uint64(shift)
            while slots[slot] != 0 and slots[slot] != key:
                slot = (slot + _ONE) & last
            if turn == 0:
                slots[slot] = key
            elif turn == 2:
                ranks[place] = slot_ranks[slot]
            elif slots[slot] == key:
                slot_ranks[slot] = place + 1


def ranks_of_codes(wanted: U32, codes: U32) -> U32:
    """The rank of each wanted code in a list of distinct codes, from 1; 0 if it is not listed."""
    bits = max(12, (1024 * len(wanted)).bit_length())
    seen, places = np.zeros(1 << (bits - 6), dtype=np.uint64), np.empty(len(codes), dtype=np.uint32)
    places = places[: _places_like(wanted, codes, (1 << bits) - 1, seen, places)]
    order = np.argsort(codes[places])
    ordered, ranks = codes[places][order], places[order] + np.uint32(1)
    at = np.minimum(np.searchsorted(ordered, wanted), max(len(ordered) - 1, 0))
    return np.where(ordered[at] == wanted, ranks[at], np.uint32(0)) if len(ordered) else np.zeros_like(wanted)


@_compiled
def _places_like(
    wanted: U32, codes: U32, mask: int, seen: Annotated[U64, _WRITTEN], places: Annotated[U32, _WRITTEN]
) -> int:
    # The places of codes that equal a wanted one in their last bits, as one in a thousand of the others does. A bit for
    # each of these endings fits into the fastest cache.
    for code in wanted:
        end = np.uint64(code) & np.uint64(mask)
        seen[end >> np.uint64(6)] |= _ONE << (end & np.uint64(63))
    count = 0
    for place in range(len(codes)):
        end = np.uint64(codes[place]) & np.uint64(mask)
        places[count] = place
        count += (seen[end >> np.uint64(6)] >> (end & np.uint64(63)) & _ONE) != 0
    return count


def first_occurrences(codes: U32, segments: int) -> Bool:
    """Whether each code is its first occurrence in the list; codes are below `segments`."""
    first = np.empty(len(codes), dtype=np.bool_)
    _mark_first(codes, np.zeros((segments >> 6) + 1, dtype=np.uint64), first)
    return first


@_compiled
def _mark_first(codes: U32, seen: Annotated[U64, _WRITTEN], first: Annotated[Bool, _WRITTEN]) -> None:
    # A bit per segment: 256 KiB for two million.
    for place in range(len(codes)):
        word = np.uint64(codes[place]) >> np.uint64(6)
        bit = _ONE << (np.uint64(codes[place]) & np.uint64(63))
        first[place] = (seen[word] & bit) == 0
        seen[word] |= bit


def fused_scores(lists: Sequence[U32], shares: Sequence[float], k: float, segments: int) -> tuple[U32, F64]:
    """All listed codes, ascending, and per code the sum of share / (k + rank), added in the order of the lists.

    Args:
        lists: distinct codes below `segments`.
        shares: one per list, above 0.
    """
    codes, ends = np.concatenate(lists), np.cumsum([len(codes) for codes in lists])
    if len(codes) < segments >> 5:  # short lists: renumber their segments, so that the time does not grow with all
        distinct, numbers = np.unique(codes, return_inverse=True)
        starts = [0, *ends[:-1]]
        numbered = [numbers[start:end].astype(np.uint32) for start, end in zip(starts, ends, strict=True)]
        listed, scores = fused_scores(numbered, shares, k, len(distinct))
        return distinct[listed], scores
    groups = (segments >> int(_GROUP)) + 1
    bounds = np.zeros(groups + 2, dtype=np.int64)
    low_codes, votes = np.empty(len(codes), dtype=np.uint32), np.empty(len(codes))
    _group_votes(codes, ends, np.array(shares, dtype=np.float64), k, bounds, low_codes, votes)
    listed, scores = np.empty(len(codes), dtype=np.uint32), np.empty(len(codes))
    count = _add_votes(low_codes, votes, bounds, np.zeros(1 << int(_GROUP)), listed, scores)
    return listed[:count], scores[:count]


@_compiled
def _group_votes(
    codes: U32,
    ends: I64,
    shares: F64,
    k: float,
    bounds: Annotated[I64, _WRITTEN],
    low_codes: Annotated[U32, _WRITTEN],
    votes: Annotated[F64, _WRITTEN],
) -> None:
    # Votes are grouped by the upper bits of their codes: adding a group's votes then touches few scores, which stay in
    # the cache. The bound of a group is its next free slot, and its end when all votes are grouped.
    for code in codes:
        bounds[(np.uint64(code) >> _GROUP) + np.uint64(2)] += 1
    for group in range(1, len(bounds)):
        bounds[group] += bounds[group - 1]
    start = 0
    for number in range(len(ends)):
        share = shares[number]
        for place in range(start, ends[number]):
            code = np.uint64(codes[place])
            group = (code >> _GROUP) + _ONE
            slot = bounds[group]
            bounds[group] = slot + 1
            low_codes[slot] = code & ((_ONE << _GROUP) - _ONE)
            votes[slot] = share / (k + (place - start + 1))
        start = ends[number]


@_compiled
def _add_votes(
    low_codes: U32,
    votes: F64,
    bounds: I64,
    totals: Annotated[F64, _WRITTEN],
    listed: Annotated[U32, _WRITTEN],
    scores: Annotated[F64, _WRITTEN],
) -> int:
    count = 0
    for group in range(len(bounds) - 2):
        for slot in range(bounds[group], bounds[group + 1]):
            totals[low_codes[slot]] += votes[slot]
        for code in range(len(totals)):
            if totals[code] > 0:
                listed[count] = group * len(totals) + code
                scores[count] = totals[code]
                totals[code] = 0
                count += 1
    return count


def best_first(scores: F64, cutoff: int) -> U32:
    """Positions of the `cutoff` highest scores (not NaN), highest first; equal scores in the order of the positions."""
    # Keys fall as scores rise: bits of positive floats sort as the floats do, those of negative floats in reverse.
    # Adding 0 makes -0 equal to 0.
    bits = (scores + 0.0).view(np.uint64)
    keys = np.where(bits >> np.uint64(63) == 1, bits, ~bits & np.uint64(2**63 - 1))
    order = np.arange(len(keys), dtype=np.uint32)
    if cutoff < len(keys):
        worst = np.partition(keys, cutoff)[cutoff]
        order = np.flatnonzero(keys <= worst).astype(np.uint32)
        keys = keys[order]
    keys -= keys.min(initial=np.uint64(2**64 - 1))
    # A stable radix sort, from the least significant digit on.
    for shift in range(0, int(keys.max(initial=np.uint64(0))).bit_length(), _DIGIT):
        sorted_keys, sorted_order = np.empty_like(keys), np.empty_like(order)
        _sort_digit(keys, order, shift, np.zeros(_DIGITS + _ONE, dtype=np.int64), sorted_keys, sorted_order)
        keys, order = sorted_keys, sorted_order
    return order[:cutoff]


@_compiled
def _sort_digit(
    keys: U64,
    order: U32,
    shift: int,
    free: Annotated[I64, _WRITTEN],
    sorted_keys: Annotated[U64, _WRITTEN],
    sorted_order: Annotated[U32, _WRITTEN],
) -> None:
    for key in keys:
        free[((key >> np.uint64(shift)) & (_DIGITS - _ONE)) + _ONE] += 1
    for digit in range(1, len(free)):
        free[digit] += free[digit - 1]
    for place in range(len(keys)):
        key = keys[place]
        value = (key >> np.uint64(shift)) & (_DIGITS - _ONE)
        slot = free[value]
        free[value] = slot + 1
        sorted_keys[slot] = key
        sorted_order[slot] = order[place]


def pair_scores(ranks: F64, shares: F64, k: float) -> F64:
    """Per pair, the sum of share / (k + rank) over the members of positive share, added in their order.

    Args:
        ranks: (members, pairs), inf if a member does not list a pair.
    """
    scores = np.zeros(ranks.shape[1])
    _pair_scores(ranks.ravel(), shares, k, scores)
    return scores


@_compiled
def _pair_scores(ranks: F64, shares: F64, k: float, scores: Annotated[F64, _WRITTEN]) -> None:
    pairs = len(scores)
    for member in range(len(shares)):
        share = shares[member]
        if share > 0:
            first = member * pairs
            for pair in range(pairs):
                scores[pair] += share / (k + ranks[first + pair])


def sums_of_precisions(scores: F64, positive: I64, ends: I64) -> F64:
    """Per class, the sum of the precisions at its positives with a score above 0, added best first.

    Equal scores rank in the order of the pairs. The time per class grows with its positives times its pairs.

    Args:
        positive: 1 for a relevant pair, 0 for another.
        ends: the end of each class's pairs.
    """
    sums = np.zeros(len(ends))
    _sums_of_precisions(scores, positive, ends, np.empty(len(scores)), sums)
    return sums


@_compiled
def _sums_of_precisions(
    scores: F64, positive: I64, ends: I64, precisions: Annotated[F64, _WRITTEN], sums: Annotated[F64, _WRITTEN]
) -> None:
    start = 0
    for row in range(len(ends)):
        end = ends[row]
        count = 0
        for pair in range(start, end):
            score = scores[pair]
            if positive[pair] and score > 0:
                # Counting the pairs ranked above needs no sort, and compiles to vector instructions.
                rank = 1
                hits = 1
                for other in range(start, pair):
                    ahead = np.int64(scores[other] >= score)
                    rank += ahead
                    hits += ahead & positive[other]
                for other in range(pair + 1, end):
                    ahead = np.int64(scores[other] > score)
                    rank += ahead
                    hits += ahead & positive[other]
                precisions[hits - 1] = hits / rank
                count += 1
        for hit in range(count):
            sums[row] += precisions[hit]
        start = end


def sums_of_precisions_of_all(scores: F64, positive: I64, ends: I64) -> F64:
    """`sums_of_precisions` of several scorings of the same pairs (scorings, classes), in half the time per scoring.

    Args:
        scores: (scorings, pairs).
    """
    count = len(scores)
    sums, together = np.zeros((len(ends), count)), np.ascontiguousarray(scores.T)
    longest = int(np.diff(ends, prepend=0).max(initial=0))
    ranks, hits, counts = np.empty((3, count), dtype=np.int64)
    _sums_of_all(together.ravel(), positive, ends, ranks, hits, counts, np.empty(longest * count), sums.ravel())
    return np.ascontiguousarray(sums.T)


@_compiled
def _sums_of_all(
    scores: F64,
    positive: I64,
    ends: I64,
    ranks: Annotated[I64, _WRITTEN],
    hits: Annotated[I64, _WRITTEN],
    counts: Annotated[I64, _WRITTEN],
    precisions: Annotated[F64, _WRITTEN],
    sums: Annotated[F64, _WRITTEN],
) -> None:
    # The loops over scorings compile to vector instructions: the lists of a class are too short for that.
    scorings = len(ranks)
    table = scores.reshape((len(positive), scorings))
    start = 0
    for row in range(len(ends)):
        end = ends[row]
        counts[:] = 0
        for pair in range(start, end):
            if positive[pair]:
                ranks[:] = 1
                hits[:] = 1
                for other in range(start, pair):
                    relevant = positive[other]
                    for number in range(scorings):
                        ahead = np.int64(table[other, number] >= table[pair, number])
                        ranks[number] += ahead
                        hits[number] += ahead & relevant
                for other in range(pair + 1, end):
                    relevant = positive[other]
                    for number in range(scorings):
                        ahead = np.int64(table[other, number] > table[pair, number])
                        ranks[number] += ahead
                        hits[number] += ahead & relevant
                for number in range(scorings):
                    if table[pair, number] > 0:
                        precisions[(hits[number] - 1) * scorings + number] = hits[number] / ranks[number]
                        counts[number] += 1
        for number in range(scorings):
            for hit in range(counts[number]):
                sums[row * scorings + number] += precisions[hit * scorings + number]
        start = end


def resampled_precisions(times: U32, units: I64, positive: Bool, listed: Bool, ends: I64) -> tuple[F64, I64]:
    """Per resample, the sum of the classes' AP, and the number of classes that have a positive in it.

    A pair drawn m times becomes m consecutive entries. If `before` entries precede a positive and `wrong` of them are
    negative, its i-th copy has precision 1 - wrong / (before + i), so the m copies sum to
    m - wrong * (H(before + m) - H(before)), H the harmonic numbers.

    Args:
        times: (units, resamples), how often each unit is drawn.
        units: the unit of each pair; the pairs of a class are ordered best first.
        listed: True for pairs that the list has within the cutoff; the others come last in their class.
        ends: the end of each class's pairs.
    """
    resamples = times.shape[1]
    longest = int(np.diff(ends, prepend=0).max()) * int(times.max())
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, longest + 1))])
    sums, classes = np.zeros(resamples), np.zeros(resamples, dtype=np.int64)
    before, wrong, counts = (np.empty(resamples, dtype=np.uint32) for _ in range(3))
    precisions = np.empty(resamples)
    _resampled_precisions(
        *(times.ravel(), units, positive, listed, ends, harmonic, before, wrong, counts, precisions, sums, classes)
    )
    return sums, classes


@_compiled
def _resampled_precisions(
    times: U32,
    units: I64,
    positive: Bool,
    listed: Bool,
    ends: I64,
    harmonic: F64,
    before: Annotated[U32, _WRITTEN],
    wrong: Annotated[U32, _WRITTEN],
    counts: Annotated[U32, _WRITTEN],
    precisions: Annotated[F64, _WRITTEN],
    sums: Annotated[F64, _WRITTEN],
    classes: Annotated[I64, _WRITTEN],
) -> None:
    resamples = len(sums)
    start = 0
    for row in range(len(ends)):
        for resample in range(resamples):
            before[resample] = 0
            wrong[resample] = 0
            counts[resample] = 0
            precisions[resample] = 0.0
        for pair in range(start, ends[row]):
            unit_times = times[units[pair] * resamples : (units[pair] + 1) * resamples]
            if not positive[pair]:
                for resample in range(resamples):
                    m = unit_times[resample]
                    before[resample] += m
                    wrong[resample] += m
            elif listed[pair]:
                for resample in range(resamples):
                    m = unit_times[resample]
                    seen = before[resample]
                    after = np.uint32(seen + m)  # unsigned 32-bit numbers halve the time of this loop
                    precisions[resample] += m - wrong[resample] * (harmonic[after] - harmonic[seen])
                    before[resample] = after
                    counts[resample] += m
            else:
                for resample in range(resamples):
                    m = unit_times[resample]
                    before[resample] += m
                    counts[resample] += m
        for resample in range(resamples):
            sums[resample] += precisions[resample] / max(counts[resample], np.uint32(1))
            classes[resample] += counts[resample] > 0
        start = ends[row]


def certain_reach(lists: Sequence[U32], cutoff: int, segments: int) -> int:
    """The largest rank H, in steps of cutoff / 64 from 1, such that the lists rank at most `cutoff` segments above H.

    0 if all lists together have at most `cutoff` segments. Codes are below `segments`.
    """
    longest = max(map(len, lists))
    # The first ranks of long lists usually decide.
    for length in (4 * cutoff // len(lists), longest):
        first = [codes[:length] for codes in lists]
        ends, seen = np.cumsum([len(codes) for codes in first]), np.zeros((segments >> 6) + 1, dtype=np.uint64)
        reach = _certain_reach(np.concatenate(first), ends, cutoff, min(length, longest), seen)
        if reach or length >= longest:
            return reach
    return 0


@_compiled
def _certain_reach(codes: U32, ends: I64, cutoff: int, longest: int, seen: Annotated[U64, _WRITTEN]) -> int:
    step = max(1, cutoff // 64)
    count = 0
    for first in range(0, longest, step):
        start = 0
        for end in ends:
            for place in range(start + first, min(start + first + step, end)):
                word = np.uint64(codes[place]) >> np.uint64(6)
                bit = _ONE << (np.uint64(codes[place]) & np.uint64(63))
                count += (seen[word] & bit) == 0
                seen[word] |= bit
            start = end
        if count > cutoff:
            return first + 1
    return 0


if __name__ == "__main__":
    compile_all()
