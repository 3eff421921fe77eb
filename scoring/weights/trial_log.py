"""The trials of a search on disk, from which an interrupted search resumes."""

import hashlib
import json
import logging
from collections import Counter
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from scoring.fusion.fusion import check_k, shares_of
from scoring.weights.objective import Objective
from scoring.weights.trials import Trial

log = logging.getLogger(__name__)


class TrialLog:
    """A file with one line per trial after a header that identifies the search; the file of another search is replaced.

    A context manager: the first trial locks the file, so two processes cannot run the same search at once, and leaving
    the context releases it. `known` has the trials of an earlier, interrupted run.
    """

    def __init__(self, path: Path, objective: Objective, seed: int):
        self.path = path
        self.known: list[Trial] = []
        header = {"objective": _digest(objective), "seed": seed, "ax": version("ax-platform")}
        self._header = json.dumps(header)  # another version of Ax may propose other weights
        self._lock = FileLock(path.with_name(f"{path.name}.lock"), timeout=0)
        lines = path.read_text(errors="replace").split("\n") if path.exists() else []
        if lines and lines[0] == self._header:
            # The interruption may have cut off the last line.
            self.known = [self._read(line, number, objective) for number, line in enumerate(lines[1:-1], start=2)]
            log.info("%d trials are known from an interrupted search (%s)", len(self.known), path)
        self._stored = Counter(map(_key, self.known))  # the search may report these again

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock.is_locked:
            # Unlinked before it is released: a process that waits for the old file notices and opens a new one.
            Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()

    def __call__(self, trial: Trial) -> None:
        """Write a trial; ValueError if another process is running the same search."""
        if not self._lock.is_locked:  # a search that is refused leaves no file
            self._begin()
        if self._stored[_key(trial)]:
            self._stored[_key(trial)] -= 1
            return
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(trial)) + "\n")

    def done(self) -> None:
        """Remove the file, after the result has been stored."""
        self.path.unlink()

    def _read(self, line: str, number: int, objective: Objective) -> Trial:
        """The trial of a line; ValueError if it is damaged."""
        try:
            trial = Trial(**json.loads(line))
            shares_of(trial.weights if any(trial.weights.values()) else None, objective.members)
            check_k(trial.k)
            if not 0 <= trial.map <= 1 or trial.evaluations < 1 or trial.seconds < 0:
                raise ValueError("a number is out of range")
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"{self.path}, line {number} is no trial ({error}); remove the file to search from the beginning"
            ) from error
        return trial

    def _begin(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise ValueError(f"another search is writing {self.path}; wait until it ends, or stop it") from error
        lines = [self._header, *(json.dumps(asdict(trial)) for trial in self.known)]
        self.path.write_text("\n".join(lines) + "\n")


def _key(trial: Trial) -> tuple[object, ...]:
    return (trial.source, *trial.weights.items(), trial.k)


def _digest(objective: Objective) -> str:
    """Digest of what a search depends on: members, judged pairs, ranks, the members' classes, cutoff and mode."""
    content = hashlib.sha256(json.dumps([objective.members, objective.cutoff, objective.mode]).encode())
    content.update(objective.pairs.write_csv().encode())
    for array in (objective.ranks, objective.has, objective.reach):
        content.update(array.tobytes())
    return content.hexdigest()[:16]
