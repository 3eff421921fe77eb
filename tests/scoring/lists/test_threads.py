import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from scoring.lists import threads
from scoring.lists.opening import open_submission
from scoring.lists.threads import in_threads
from scoring.lists.writing import write_submission
from tests.scoring.generated import ids_of, submission_of


@pytest.fixture(autouse=True)
def three_cores(monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: 3)


def test_results_come_in_order_from_several_threads():
    meet = threading.Barrier(3, timeout=20)  # nobody passes alone

    def work(number: int) -> int:
        if number < 3:
            meet.wait()
        time.sleep(0.01 * (number % 3 == 0))
        return number**2

    assert list(in_threads(work, range(12))) == [number**2 for number in range(12)]


def test_few_results_wait_for_a_slow_reader():
    begun = []
    results = in_threads(begun.append, range(100))
    for read in range(1, 5):
        next(results)
        time.sleep(0.02)
        assert len(begun) <= read + 3
    results.close()


def test_an_error_comes_where_its_block_would_have_and_ends_the_rest():
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 2:
            raise ValueError("block 2")
        time.sleep(0.02)
        return number

    results = in_threads(work, range(1000))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="block 2"):
        next(results)
    assert len(begun) < 10


def test_who_stops_reading_waits_for_what_has_begun_alone():
    begun = []

    def work(number: int) -> None:
        begun.append(number)
        time.sleep(0.05)

    results = in_threads(work, range(1000))
    next(results)
    before = threading.active_count()
    results.close()
    assert threading.active_count() < before
    assert len(begun) <= 4


def test_a_coded_file_is_read_by_several_threads(tmp_path):
    rng = np.random.default_rng(0)
    ids = [f"v{i:05}:0" for i in range(20_000)]
    submission = submission_of({c: rng.permutation(ids)[:8000] for c in range(24)})
    write_submission(submission, tmp_path / "x")
    file, expected = open_submission(tmp_path / "x"), ids_of(submission)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            for number, block in enumerate(pool.map(lambda c: file.read([c]), range(24))):
                assert ids_of(block) == {number: expected[number]}
