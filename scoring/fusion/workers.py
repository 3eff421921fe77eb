"""Fusing, merging and evaluating files in blocks of classes: here, in several processes, or on a Dask cluster.

Every block is worked out alone from the files' paths, which all machines must see, so that the result is the same to
the byte wherever it was worked out.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, TypeVar, cast

import polars as pl
from tyro.conf import arg

from scoring.fusion.fusion import By, fuse, merge_shifts, shares_of
from scoring.lists.coded import CodedFile
from scoring.lists.ids import union_of_segments
from scoring.lists.opening import Format, open_submissions, read_together
from scoring.lists.ranked import Part, RankedLists, Submission, class_blocks
from scoring.measures.average_precision import ranks_of_blocks

T = TypeVar("T")


@dataclass(frozen=True)
class Workers:
    """Where blocks are worked out: in `jobs` processes of this machine, or on the cluster of a Dask scheduler."""

    jobs: int = 1
    """Processes of this machine; 1: this one alone."""
    scheduler: Annotated[str | None, arg(metavar="ADDRESS", help_behavior_hint="")] = None
    """Address of a Dask scheduler, such as tcp://host:8786, whose workers see the files under the same paths."""

    @property
    def elsewhere(self) -> bool:
        """Whether anything but this process works."""
        return self.jobs != 1 or self.scheduler is not None

    def map(self, work: Callable[..., T], blocks: Sequence[object], *arguments: object) -> Iterator[T]:
        """`work(block, *arguments)` of each block, in order; few results are kept waiting at a time."""
        if self.jobs < 1:
            raise ValueError(f"--jobs is {self.jobs}; it must be at least 1")
        if not self.elsewhere:
            yield from (work(block, *arguments) for block in blocks)
            return
        from joblib import Parallel, delayed

        with self._backend() as jobs:
            results = Parallel(n_jobs=jobs, return_as="generator", pre_dispatch="2*n_jobs")(
                delayed(work)(block, *arguments) for block in blocks
            )
            yield from cast(Iterator[T], results)

    @contextmanager
    def _backend(self) -> Iterator[int]:
        from joblib import parallel_config

        if self.scheduler is None:
            with parallel_config(backend="loky"):
                yield self.jobs
            return
        try:
            from distributed import Client
        except ImportError as error:
            raise ValueError("--scheduler needs Dask; `pip install -c constraints.txt distributed`") from error
        with Client(self.scheduler, set_as_default=False) as client, parallel_config(backend="dask", client=client):
            yield -1


HERE = Workers()


def fuse_in_blocks(
    paths: Sequence[Path],
    format: Format | None,
    weights: Mapping[str, float] | None,
    k: float,
    top: int,
    workers: Workers,
) -> Iterator[Submission]:
    """`fuse_blocks` of files, each named by its file."""
    files = _versions(paths)
    sources = _opened(files, format)
    names = shares_of(weights, sources)
    segments = _table(sources, names)
    blocks = list(class_blocks(sources[name] for name in names))
    for part in workers.map(_fuse_block, blocks, files, format, weights, k, top):
        yield part if segments is None else Submission(part.lists, segments)


def merge_in_blocks(paths: Sequence[Path], by: By, workers: Workers) -> Iterator[Submission]:
    """`merge_blocks` of files, one a shift."""
    files = _versions(paths)
    sources = _opened(files, None)
    segments = _table(sources, sources)
    for part in workers.map(_merge_block, list(class_blocks(sources.values())), files, by):
        yield part if segments is None else Submission(part.lists, segments)


def ranks_in_blocks(
    path: Path, format: Format | None, judgments: pl.DataFrame, k: int, workers: Workers
) -> tuple[pl.DataFrame, pl.Series]:
    """`ranks_of_blocks` of a file, cut at `k`."""
    files = _versions([path])
    (source,) = _opened(files, format).values()
    blocks = [
        (class_ids, judgments.filter(pl.col("class_id").is_in(class_ids))) for class_ids in class_blocks([source])
    ]
    found = list(workers.map(_find_block, blocks, files, format, k))
    return pl.concat(found), pl.Series("class_id", source.classes, dtype=pl.UInt16)


def _fuse_block(
    class_ids: Sequence[int],
    files: tuple[tuple[str, int], ...],
    format: Format | None,
    weights: Mapping[str, float] | None,
    k: float,
    top: int,
) -> Submission:
    sources = _opened(files, format)
    shares = shares_of(weights, sources)
    blocks = read_together([sources[name] for name in shares], class_ids)
    fused = fuse(dict(zip(shares, blocks, strict=True)), shares, k, top)
    return _to_send(fused, _table(sources, shares))


def _merge_block(class_ids: Sequence[int], files: tuple[tuple[str, int], ...], by: By) -> Submission:
    sources = _opened(files, None)
    merged = merge_shifts(read_together(list(sources.values()), class_ids), by)
    return _to_send(merged, _table(sources, sources))


def _to_send(block: Submission, table: pl.Series | None) -> Submission:
    """The block without its table of segments where everybody has that."""
    return block if table is None else Submission(block.lists, block.segments.clear())


def _find_block(
    block: tuple[Sequence[int], pl.DataFrame], files: tuple[tuple[str, int], ...], format: Format | None, k: int
) -> pl.DataFrame:
    (source,) = _opened(files, format).values()
    class_ids, judgments = block
    return ranks_of_blocks([Part(source, list(class_ids))], judgments, k)[0]


def _versions(paths: Sequence[Path]) -> tuple[tuple[str, int], ...]:
    """The files with the time of their last change: what was opened is used again while they are the same."""
    return tuple((os.path.abspath(path), max(map(_changed, _parts(path)))) for path in paths)


def _changed(path: Path) -> int:
    return os.stat(path).st_mtime_ns


def _parts(path: Path) -> list[Path]:
    """What a submission at this path is read from."""
    inside = [path / name for name in ("lists.parquet", "segments.parquet")]
    beside = [path, path.parent / "segments.parquet"]
    return [path, *(part for part in (inside if path.is_dir() else beside) if part.exists())]


@lru_cache(maxsize=1)
def _opened(files: tuple[tuple[str, int], ...], format: Format | None) -> dict[str, RankedLists]:
    return open_submissions([Path(path) for path, _ in files], format)


def _table(sources: Mapping[str, RankedLists], names: Iterable[str]) -> pl.Series | None:
    """The one table of segments of coded files; None where there is another kind of file among them."""
    if not all(isinstance(sources[name], CodedFile) for name in names):
        return None
    return union_of_segments([sources[name].segments for name in names])
