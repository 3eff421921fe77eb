"""What a run is made of: the runs that it builds on, and theirs, down to the data and the code."""

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tracking.runs import SUBMISSION, Record, find_runs, get_run


@dataclass(frozen=True)
class Origin:
    """A run and the origins of the runs that it builds on; `record` is None if the store has no such run any more."""

    run_id: str
    record: Record | None
    upstream: tuple["Origin", ...]

    def walk(self) -> Iterator["Origin"]:
        """This origin and all below it; a run that several build on comes several times."""
        yield self
        for origin in self.upstream:
            yield from origin.walk()


def origin_of(run_id: str) -> Origin:
    """The origin of a run; ValueError if the store does not have the run itself."""
    known: dict[str, Origin] = {}  # the runs of nine members share those that they build on

    def follow(record: Record) -> Origin:
        upstream = []
        for number in record.upstream:
            if number not in known:
                try:
                    known[number] = follow(get_run(number))
                except ValueError:
                    known[number] = Origin(number, None, ())
            upstream.append(known[number])
        return Origin(record.run_id, record, tuple(upstream))

    return follow(get_run(run_id))


def submission_digest(path: Path) -> str:
    """SHA-256 of a Kaggle CSV, of its text if it is compressed (`.gz`)."""
    digest = hashlib.sha256()
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def run_of_submission(path: Path) -> str:
    """The id of the newest run that wrote this Kaggle CSV; ValueError if there is none."""
    records = find_runs(finished=True, **{SUBMISSION: submission_digest(path)})
    if not records:
        raise ValueError(
            f"no run of the store has written {path}: it was changed since, or written with --k-constant or without "
            "tracking; give the id of a run instead"
        )
    return records[0].run_id
