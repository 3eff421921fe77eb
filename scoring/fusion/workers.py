"""Fuse, merge and look up ranks in blocks of classes: in threads, in several processes, or on a Dask cluster.

Each block is computed independently from opened files, which other processes open again by path, so the bytes of the
result do not depend on where it was computed.
"""

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Annotated, TypeVar, cast

import numpy as np
import polars as pl
from tyro.conf import arg

from scoring.fusion.fusion import By, fuse, merge_shifts, shares_of
from scoring.lists.opening import read_together, shared_table
from scoring.lists.progress import shown
from scoring.lists.ranked import Part, RankedLists, Submission, class_blocks
from scoring.lists.threads import in_threads
from scoring.measures.average_precision import ranks_of_blocks
from videos.judgments import Judgments, rows_by_class

if TYPE_CHECKING:
    from distributed import Client

Block = TypeVar("Block")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Workers:
    """Where blocks are computed: in threads of this process, `jobs` processes, or the workers of a Dask scheduler."""

    jobs: int = 1
    """Processes of this machine; 1: this one, with a thread on every core."""
    scheduler: Annotated[str | None, arg(metavar="ADDRESS", help_behavior_hint="")] = None
    """Address of a Dask scheduler, such as tcp://host:8786, whose workers see the files under the same paths."""

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ValueError(f"--jobs is {self.jobs}; it must be at least 1")

    def map(self, work: Callable[[Block], Result], blocks: Iterable[Block]) -> Iterator[Result]:
        """`work` of each block, in order; only a few results are pending at a time. `work` must be picklable."""
        if self.jobs == 1 and self.scheduler is None:
            yield from in_threads(work, blocks)
            return
        from joblib import Parallel, delayed

        # Pickled once: each process then opens the files once, not for every block.
        pickled = pickle.dumps(work)
        with self._backend() as jobs:
            results = Parallel(n_jobs=jobs, return_as="generator", pre_dispatch="2*n_jobs")(
                delayed(_call)(pickled, block) for block in blocks
            )
            yield from cast(Iterator[Result], results)

    @contextmanager
    def _backend(self) -> Iterator[int]:
        from joblib import parallel_config

        if self.scheduler is None:
            with parallel_config(backend="loky"):
                yield self.jobs
            return
        with dask_client(self.scheduler) as client, parallel_config(backend="dask", client=client):
            yield -1


HERE = Workers()


def dask_client(scheduler: str) -> "Client":
    """A client of the Dask scheduler at this address; ValueError if Dask is not installed or nothing answers there."""
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError("--scheduler needs Dask; `pip install -c constraints.txt distributed`") from error
    try:
        return Client(scheduler, set_as_default=False)
    except OSError as error:
        raise ValueError(f"no Dask scheduler answers at {scheduler}; start one with `dask scheduler`") from error


def fuse_in_blocks(
    sources: Mapping[str, RankedLists],
    *,
    weights: Mapping[str, float] | None,
    k: float,
    cutoff: int,
    keep_scores: bool = False,
    workers: Workers = HERE,
) -> Iterator[Submission]:
    """`fuse` in blocks of classes. The keys of `sources` name the members."""
    shares = shares_of(weights, sources)
    voting = [sources[name] for name in shares]
    return _in_blocks(partial(_fuse_classes, voting, shares, k, cutoff, keep_scores), voting, workers)


def merge_in_blocks(
    sources: Sequence[RankedLists], *, by: By, keep_scores: bool = False, workers: Workers = HERE
) -> Iterator[Submission]:
    """`merge_shifts` in blocks of classes."""
    return _in_blocks(partial(_merge_classes, sources, by, keep_scores), sources, workers)


def ranks_in_blocks(
    source: RankedLists,
    judgments: Judgments,
    *,
    cutoff: int,
    workers: Workers = HERE,
    label: str = "evaluate",
) -> tuple[pl.DataFrame, pl.Series]:
    """`ranks_of_blocks` of a submission: its ranks of judged pairs up to `cutoff`, and its classes.

    `label` names the progress bar.
    """
    rows, ids = rows_by_class(judgments.pairs), judgments.pairs["segment_id"]
    classes = list(class_blocks([source]))
    wanted = ({c: ids[rows[c]] for c in block if c in rows} for block in classes)
    ranks = workers.map(source.find, wanted)
    parts = (_Looked(source, block, ranked) for block, ranked in zip(classes, ranks, strict=True))
    return ranks_of_blocks(shown(parts, [source], label), judgments, cutoff)


@dataclass(frozen=True)
class _Looked(Part):
    """A block of classes whose judged ids have been looked up."""

    ranks: dict[int, np.ndarray]

    def find(self, wanted: Mapping[int, pl.Series]) -> dict[int, np.ndarray]:
        return self.ranks


def _fuse_classes(
    sources: Sequence[RankedLists],
    shares: Mapping[str, float],
    k: float,
    cutoff: int,
    keep_scores: bool,
    class_ids: Sequence[int],
) -> Submission:
    lists = dict(zip(shares, read_together(sources, class_ids), strict=True))
    return fuse(lists, shares, k, cutoff, keep_scores=keep_scores)


def _merge_classes(sources: Sequence[RankedLists], by: By, keep_scores: bool, class_ids: Sequence[int]) -> Submission:
    return merge_shifts(read_together(sources, class_ids), by, keep_scores=keep_scores)


def _lists_of(work: Callable[[Sequence[int]], Submission], class_ids: Sequence[int]) -> pl.DataFrame:
    return work(class_ids).lists


def _in_blocks(
    work: Callable[[Sequence[int]], Submission], sources: Sequence[RankedLists], workers: Workers
) -> Iterator[Submission]:
    blocks = list(class_blocks(sources))
    segments = shared_table(sources)
    if segments is None:
        yield from workers.map(work, blocks)
        return
    # Results of other processes come without the table of segments, which is here already.
    for lists in workers.map(partial(_lists_of, work), blocks):
        yield Submission(lists, segments)


def _call(pickled: bytes, block: object) -> object:
    return _unpickled(pickled)(block)


@lru_cache(maxsize=1)
def _unpickled(pickled: bytes) -> Callable:
    return pickle.loads(pickled)
