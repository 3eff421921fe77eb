"""Blocks of classes worked on by several threads at a time: numpy and Arrow let go of Python's lock while they work."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Block = TypeVar("Block")
Result = TypeVar("Result")


def in_threads(work: Callable[[Block], Result], blocks: Iterable[Block]) -> Generator[Result, None, None]:
    """`work` of each block, in order, on every core; a result more than there are cores is kept waiting at most."""
    count = cores()
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(count) as pool:
        try:
            for block in blocks:
                waiting.append(pool.submit(work, block))
                if len(waiting) > count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # what an error or a reader's end leaves undone


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
