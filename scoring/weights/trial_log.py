"""The trials of a search on disk as they come, so that a search that was stopped goes on where it was."""

import hashlib
import json
import logging
from collections import Counter
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from scoring.weights.objective import Objective
from scoring.weights.trials import Trial

log = logging.getLogger(__name__)


class TrialLog:
    """A file with a line a trial, below one that says which search it is; another search's file is begun anew."""

    def __init__(self, path: Path, objective: Objective, seed: int):
        self.path = path
        self.known: list[Trial] = []
        header = {"objective": digest_of(objective), "seed": seed, "ax": version("ax-platform")}
        self._header = json.dumps(header)  # another version of Ax may propose otherwise
        lines = path.read_text().split("\n") if path.exists() else []
        if lines and lines[0] == self._header:
            # What follows the last line end was cut off by the stop.
            self.known = [Trial(**json.loads(line)) for line in lines[1:-1]]
            log.info("%d trials are known from a search that was stopped (%s)", len(self.known), path)
        self._begun = False
        self._there = Counter(map(_key, self.known))  # the search may report these once more

    def __call__(self, trial: Trial) -> None:
        if not self._begun:  # a search that is refused leaves no file
            self.path.parent.mkdir(parents=True, exist_ok=True)
            kept = [self._header, *(json.dumps(asdict(trial)) for trial in self.known)]
            self.path.write_text("\n".join(kept) + "\n")
            self._begun = True
        if self._there[_key(trial)]:
            self._there[_key(trial)] -= 1
            return
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(trial)) + "\n")

    def done(self) -> None:
        """What was found is safe; nothing is left to go on with."""
        self.path.unlink()


def _key(trial: Trial) -> tuple[object, ...]:
    return (trial.source, *trial.weights.items(), trial.k)


def digest_of(objective: Objective) -> str:
    """What a search depends on: members, judged pairs, ranks, which member has which class, cut and mode."""
    content = hashlib.sha256(json.dumps([objective.members, objective.cut, objective.mode]).encode())
    content.update(objective.pairs.write_csv().encode())
    for array in (objective.ranks, objective.has, objective.reach):
        content.update(array.tobytes())
    return content.hexdigest()[:16]
