"""Checkpoints to resume training from, the last and the one before it, and the weights of the best.

A folder contains `checkpoints.json` (the last, previous, best and first step of the stage) and one folder per step:
`weights.safetensors` and, unless it is only the best, `moments.safetensors`. Only the JSON says which steps count. It
and each step's folder are replaced atomically and flushed to disk, so a process killed at any moment or a power cut
leaves a state to resume from. A finished stage keeps only what later stages read.
"""

import json
import logging
import shutil
from collections.abc import Set
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from files.replacing import replacing

log = logging.getLogger(__name__)


REMEDY = "train the stage again with --force"
WEIGHTS, MOMENTS = "weights.safetensors", "moments.safetensors"
Which = Literal["last", "best"]


@dataclass(frozen=True)
class CheckpointState:
    """Steps: `begin` is the stage's first, `last`, `best` and `previous` have checkpoints.

    `best_map` is None without a holdout, `previous` before the second checkpoint and after the stage.
    """

    member: str
    begin: int
    last: int
    best: int
    best_map: float | None = None
    previous: int | None = None


class Checkpoints:
    """The checkpoints of one stage of one member, in `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def state(self) -> CheckpointState | None:
        """None before the first checkpoint; ValueError if `checkpoints.json` cannot be read."""
        path = self.folder / "checkpoints.json"
        try:
            return CheckpointState(**json.loads(path.read_text())) if path.is_file() else None
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} cannot be read: {error}; {REMEDY}") from error

    def write(
        self,
        member: str,
        step: int,
        weights: dict[str, np.ndarray],
        moments: dict[str, np.ndarray],
        score: float | None,
    ) -> None:
        """Make `step` the last checkpoint, and the best if its holdout MAP is higher (or there is no holdout).

        The checkpoint that was the last before is kept until the next call.
        """
        from safetensors.numpy import save_file

        before = self.state or CheckpointState(member, begin=step, last=step, best=step, best_map=score)
        after = replace(before, last=step, previous=before.last if before.last != step else before.previous)
        if score is None or before.best_map is None or score > before.best_map:
            after = replace(after, best=step, best_map=score)
        with replacing(self._folder(step)) as temporary:
            temporary.mkdir()
            save_file(weights, temporary / WEIGHTS)
            save_file(moments, temporary / MOMENTS)
        self._keep(after, {after.last, after.best, after.previous}, {after.last, after.previous})

    def finish(self, which: Which, moments: bool) -> None:
        """Keep only the last or the best checkpoint, with or without its moments, when the stage has ended.

        The stage cannot be trained further then. Can be repeated after an interruption.
        """
        if state := self.state:
            step = state.last if which == "last" else state.best
            self._keep(replace(state, previous=None), {step}, {step} if moments else set())

    def _keep(self, state: CheckpointState, steps: Set[int | None], with_moments: Set[int | None]) -> None:
        """Store the state; keep the weights of `steps` and the moments of those in `with_moments` only."""
        with replacing(self.folder / "checkpoints.json") as temporary:
            temporary.write_text(json.dumps(asdict(state)))
        for folder in self.folder.glob("step-*"):
            step = int(folder.name.removeprefix("step-"))
            if step not in steps:
                shutil.rmtree(folder)
            elif step not in with_moments:
                (folder / MOMENTS).unlink(missing_ok=True)

    def read(self, which: Which, member: str) -> tuple[int, dict[str, np.ndarray], dict[str, np.ndarray]]:
        """(step, weights, moments) of the `last` or the `best`, which has no moments.

        If the last cannot be read, the previous one is returned, with a warning. ValueError if there is none, and for
        another member's weights.
        """
        state = self._state_of(member)
        if which == "best":
            return state.best, self._load(state.best, WEIGHTS), {}
        try:
            return state.last, self._load(state.last, WEIGHTS), self._load(state.last, MOMENTS)
        except ValueError as error:
            if state.previous is None:
                raise
            log.warning("%s; this time the previous checkpoint, step %d, is used", error, state.previous)
            return state.previous, self._load(state.previous, WEIGHTS), self._load(state.previous, MOMENTS)

    def last_weights(self, member: str) -> tuple[int, dict[str, np.ndarray]]:
        """(step, weights) of the last checkpoint, to predict with; needs no moments. ValueError as in `read`."""
        state = self._state_of(member)
        return state.last, self._load(state.last, WEIGHTS)

    def _load(self, step: int, name: str) -> dict[str, np.ndarray]:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = self._folder(step) / name
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{path} cannot be read: {error}; {REMEDY}") from error

    def _state_of(self, member: str) -> CheckpointState:
        state = self.state
        if state is None:
            raise ValueError(f"{self.folder} has no checkpoint; {REMEDY}")
        if state.member != member:
            raise ValueError(f"{self.folder} has weights of {state.member}, not of {member}")
        return state

    def _folder(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"
