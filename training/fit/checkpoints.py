"""Checkpoints to resume training from: the last, the one before it and the best.

A folder contains `checkpoints.json` (the last, previous, best and first step of the stage) and one folder per step:
`weights.safetensors` and `moments.safetensors`. Only the JSON says which steps count. It and each step's folder are
replaced atomically and flushed to disk, so a process killed at any moment or a power cut leaves a state to resume from.
"""

import json
import logging
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from files.replacing import replacing

log = logging.getLogger(__name__)


REMEDY = "train the stage again with --force"


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
            save_file(weights, temporary / "weights.safetensors")
            save_file(moments, temporary / "moments.safetensors")
        self._keep(after)

    def drop_previous(self) -> None:
        """Keep only the last checkpoint and the best, when the stage has ended."""
        if self.state is not None:
            self._keep(replace(self.state, previous=None))

    def _keep(self, state: CheckpointState) -> None:
        with replacing(self.folder / "checkpoints.json") as temporary:
            temporary.write_text(json.dumps(asdict(state)))
        steps = {self._folder(step) for step in (state.last, state.best, state.previous) if step is not None}
        for folder in set(self.folder.glob("step-*")) - steps:
            shutil.rmtree(folder)

    def read(self, which: str, member: str) -> tuple[int, dict[str, np.ndarray], dict[str, np.ndarray]]:
        """(step, weights, moments) of the `last` or the `best`.

        If the last cannot be read, the previous one is returned, with a warning. ValueError if there is none, and for
        another member's weights.
        """
        state = self._state_of(member)
        if which == "best":
            return self._load(state.best)
        try:
            return self._load(state.last)
        except ValueError as error:
            if state.previous is None:
                raise
            log.warning("%s; this time the previous checkpoint, step %d, is used", error, state.previous)
            return self._load(state.previous)

    def last_weights(self, member: str) -> tuple[int, dict[str, np.ndarray]]:
        """(step, weights) of the last checkpoint, to predict with; needs no moments. ValueError as in `read`."""
        state = self._state_of(member)
        return state.last, _arrays(self._folder(state.last) / "weights.safetensors")

    def _load(self, step: int) -> tuple[int, dict[str, np.ndarray], dict[str, np.ndarray]]:
        folder = self._folder(step)
        return step, _arrays(folder / "weights.safetensors"), _arrays(folder / "moments.safetensors")

    def _state_of(self, member: str) -> CheckpointState:
        state = self.state
        if state is None:
            raise ValueError(f"{self.folder} has no checkpoint; {REMEDY}")
        if state.member != member:
            raise ValueError(f"{self.folder} has weights of {state.member}, not of {member}")
        return state

    def _folder(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"


def _arrays(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} cannot be read: {error}; {REMEDY}") from error
