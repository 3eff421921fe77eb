"""Each compiled kernel compared with plain NumPy, and how kernels are compiled and cached."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scoring.lists import kernels

ROOT = Path(__file__).resolve().parents[3]
SEGMENTS = 40_000  # more than the two groups of codes that votes are added up in
# Few values, so that codes repeat between lists; from both ends and both sides of a group's border.
codes = st.sampled_from([0, 1, 2, 63, 64, 16_383, 16_384, 16_385, SEGMENTS - 1])
code_lists = st.lists(st.lists(codes, unique=True, max_size=9), min_size=1, max_size=5)
# Equal scores, neighbours in float64, and both zeros.
scores = st.sampled_from([-np.inf, -1.5, -1e-300, -0.0, 0.0, 5e-324, 0.1, np.nextafter(0.1, 1), 1.0, 1e300, np.inf])
ids = st.text("ab:é€", min_size=1, max_size=9).filter(lambda segment: len(segment.encode()) <= 9)


def u32(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.uint32)


@given(st.lists(ids, max_size=12), st.booleans())
def test_text_keys_order_as_the_ids(names, blanks):
    text = ("  " if blanks else " ").join(names) + " " * blanks
    keys = kernels.text_keys(text.encode())
    expected = [name.encode() for name in names]
    if any(len(name) > 8 for name in expected):
        assert keys is None
    else:
        assert keys is not None
        assert [int(key).to_bytes(8, "big").rstrip(b"\0") for key in keys] == expected


@given(st.lists(st.sampled_from([1, 2, 3, 2**63, 2**64 - 2]), max_size=12))
def test_number_keys_counts_first_occurrences(keys):
    numbers, distinct = kernels.number_keys(np.array(keys, dtype=np.uint64))
    assert distinct.tolist() == list(dict.fromkeys(keys))
    assert distinct[numbers].tolist() == keys


def test_many_keys_share_the_slots_of_a_hash_table():
    keys = np.random.default_rng(0).integers(1, 5_000, 20_000).astype(np.uint64) << np.uint64(40)
    numbers, distinct = kernels.number_keys(keys)
    assert (distinct[numbers] == keys).all()
    assert len(distinct) == len(np.unique(keys))
    wanted = np.arange(0, 6_000).astype(np.uint64) << np.uint64(40)
    place = {key: rank for rank, key in enumerate(distinct.tolist(), 1)}
    assert kernels.ranks_in(wanted, distinct).tolist() == [place.get(key, 0) for key in wanted.tolist()]


@given(st.lists(st.integers(0, 9), max_size=12), st.lists(st.integers(0, 9), unique=True))
def test_ranks_in_a_list(wanted, listed):
    expected = [listed.index(key) + 1 if key in listed else 0 for key in wanted]
    assert kernels.ranks_in(np.array(wanted, dtype=np.uint64), np.array(listed, dtype=np.uint64)).tolist() == expected


@given(st.lists(codes, max_size=12), st.lists(codes, unique=True))
def test_ranks_of_codes(wanted, listed):
    expected = [listed.index(code) + 1 if code in listed else 0 for code in wanted]
    ranks = kernels.ranks_of_codes(u32(wanted), u32(listed))
    assert ranks.dtype == np.uint32
    assert ranks.tolist() == expected


def test_codes_with_the_same_last_bits_are_told_apart():
    listed = u32([7 + (place << 20) for place in range(400, 0, -1)])
    wanted = u32([7 + (3 << 20), 7, 7 + (400 << 20), 8])
    assert kernels.ranks_of_codes(wanted, listed).tolist() == [398, 0, 1, 0]


@given(st.lists(codes, max_size=12))
def test_first_occurrences(listed):
    expected = [code not in listed[:place] for place, code in enumerate(listed)]
    assert kernels.first_occurrences(u32(listed), SEGMENTS).tolist() == expected


@given(code_lists, st.data(), st.one_of(st.floats(-0.9, 100), st.just(1e17)))
def test_fused_scores_are_added_in_the_order_of_the_lists(lists, data, k):
    shares = data.draw(st.lists(st.floats(1e-6, 1), min_size=len(lists), max_size=len(lists)))
    totals = np.zeros(SEGMENTS)
    for listed, share in zip(lists, shares, strict=True):
        totals[listed] += share / (k + np.arange(1, len(listed) + 1))
    codes, fused = kernels.fused_scores([u32(listed) for listed in lists], shares, k, SEGMENTS)
    assert codes.tolist() == np.flatnonzero(totals).tolist()
    assert fused.tolist() == totals[totals > 0].tolist()  # to the last bit


@given(st.lists(scores, max_size=12), st.integers(0, 14))
def test_best_first_is_a_stable_sort(values, cutoff):
    values = np.array(values, dtype=np.float64)
    assert kernels.best_first(values, cutoff).tolist() == np.argsort(-values, kind="stable")[:cutoff].tolist()


def test_best_first_sorts_what_differs_in_any_digit():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=4000), rng.random(2000).round(2), 1 / (1e12 + np.arange(4000))])
    for cutoff in (1, 100, 5000, 9999, 10_000):
        assert kernels.best_first(values, cutoff).tolist() == np.argsort(-values, kind="stable")[:cutoff].tolist()


ranks = arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(0, 9)), elements=st.sampled_from([1, 2, 3, np.inf]))


@given(ranks, st.data(), st.floats(-0.9, 100))
def test_pair_scores_are_those_of_fusion(ranks, data, k):
    shares = data.draw(arrays(np.float64, len(ranks), elements=st.sampled_from([0.0, 0.1, 0.3, 0.7])))
    expected = np.zeros(ranks.shape[1])
    for share, row in zip(shares, ranks, strict=True):
        expected += share / (k + row)
    assert kernels.pair_scores(ranks, shares, k).tolist() == expected.tolist()


@given(st.lists(st.lists(st.tuples(scores.filter(lambda s: 0 <= s < np.inf), st.booleans()), max_size=9), max_size=5))
def test_sums_of_precisions_are_added_best_first(classes):
    expected = []
    for pairs in classes:
        hits, total = 0, 0.0
        for place, (score, positive) in enumerate(sorted(pairs, key=lambda pair: -pair[0]), 1):
            hits += positive
            total += hits / place if positive and score > 0 else 0.0
        expected.append(total)
    flat = [pair for pairs in classes for pair in pairs]
    sums = kernels.sums_of_precisions(
        np.array([score for score, _ in flat], dtype=np.float64),
        np.array([positive for _, positive in flat], dtype=np.int64),
        np.cumsum([len(pairs) for pairs in classes], dtype=np.int64),
    )
    assert sums.tolist() == expected  # to the last bit


@given(st.data(), st.lists(st.lists(st.booleans(), max_size=9), max_size=5), st.integers(0, 9))
def test_several_scorings_at_once_have_the_sums_of_each(data, classes, count):
    positive = np.array([pair for pairs in classes for pair in pairs], dtype=np.int64)
    ends = np.cumsum([len(pairs) for pairs in classes], dtype=np.int64)
    many = data.draw(arrays(np.float64, (count, len(positive)), elements=st.sampled_from([0.0, 0.1, 0.3, 0.7])))
    each = [kernels.sums_of_precisions(scores, positive, ends).tolist() for scores in many]
    assert kernels.sums_of_precisions_of_all(many, positive, ends).tolist() == each


@given(code_lists, st.sampled_from([1, 2, 5, 128]))
def test_at_most_the_cutoff_is_ranked_above_the_reach(lists, cutoff):
    step = max(1, cutoff // 64)

    def above(rank: int) -> int:
        return len({code for listed in lists for code in listed[: rank - 1]})

    reach = kernels.certain_reach([u32(listed) for listed in lists], cutoff, SEGMENTS)
    assert reach % step == (1 % step if reach else 0)
    if reach:
        assert above(reach) <= cutoff < above(reach + step)
    else:
        assert above(10) <= cutoff


READ_ONLY = """
import numpy as np
from scoring.lists.ranking import rank_within_class
scores = np.array([1.0, 3.0, 2.0])
scores.flags.writeable = False
print(rank_within_class(scores, 2).tolist())
"""


def python(code: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_kernels_work_where_no_cache_can_be_written():
    # Of numba's ways to find a folder, the one that serves notebooks alone.
    assert python(READ_ONLY, NUMBA_CACHE_LOCATOR_CLASSES="IPythonCacheLocator") == "[1, 2]"


def test_installation_caches_what_commands_call(tmp_path):
    env = {"NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run(
        [sys.executable, "-m", "scoring.lists.kernels"], cwd=ROOT, env={**os.environ, **env}, check=True, timeout=120
    )
    cached = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert len([path for path in cached if path.suffix == ".nbc"]) == len(kernels._loaders)
    assert python(READ_ONLY, **env) == "[1, 2]"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == cached


def test_importing_loads_no_compiler():
    modules = "scoring.fusion.fusion, scoring.weights.objective, scoring.lists.opening"
    assert python(f"import sys, {modules}; print('numba' in sys.modules)") == "False"


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), min_size=1, max_size=9),
        min_size=1,
        max_size=4,
    ),
    arrays(np.uint32, (4, 6), elements=st.integers(0, 3)),
)
def test_a_pair_drawn_several_times_is_as_many_entries(classes, times):
    flat = [pair for pairs in classes for pair in pairs]
    units, positive, listed = (np.array(column) for column in zip(*flat, strict=True))
    ends = np.cumsum([len(pairs) for pairs in classes])
    sums, counts = kernels.resampled_precisions(times, units.astype(np.int64), positive, listed, ends)
    for resample in range(times.shape[1]):
        expected = []
        for pairs in classes:
            entries = [pair for pair in pairs for _ in range(times[pair[0], resample])]
            relevant = np.array([is_positive for _, is_positive, _ in entries], dtype=bool)
            found = relevant & np.array([is_listed for _, _, is_listed in entries], dtype=bool)
            precision = np.cumsum(relevant) / np.arange(1, len(entries) + 1)
            if relevant.any():
                expected.append(precision[found].sum() / relevant.sum())
        assert counts[resample] == len(expected)
        assert np.isclose(sums[resample], sum(expected), atol=1e-12)
