"""Checkpoints to resume training from: only the last and the best are kept.

A folder contains `checkpoints.json` (the numbers of the first, last and best step) and a folder per step with
`weights.safetensors` and `moments.safetensors`. Step folders that the JSON does not name are ignored. All are replaced
atomically, so a process killed at any moment leaves a state to resume from.
"""

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from files.replacing import replacing


@dataclass(frozen=True)
class CheckpointState:
    """Steps: `begin` is the stage's first, `last` and `best` have checkpoints. `best_map` is None if never measured."""

    member: str
    begin: int
    last: int
    best: int
    best_map: float | None = None


class Checkpoints:
    """The checkpoints of one stage of one member, in `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def state(self) -> CheckpointState | None:
        """None before the first checkpoint."""
        path = self.folder / "checkpoints.json"
        return CheckpointState(**json.loads(path.read_text())) if path.is_file() else None

    def write(
        self,
        member: str,
        step: int,
        weights: dict[str, np.ndarray],
        moments: dict[str, np.ndarray],
        score: float | None,
    ) -> None:
        """Make `step` the last checkpoint, and the best if its holdout MAP is higher (or there is no holdout)."""
        from safetensors.numpy import save_file

        before = self.state or CheckpointState(member, begin=step, last=step, best=step, best_map=score)
        after = replace(before, last=step)
        if score is None or before.best_map is None or score > before.best_map:
            after = replace(after, best=step, best_map=score)
        with replacing(self._folder(step)) as temporary:
            temporary.mkdir()
            save_file(weights, temporary / "weights.safetensors")
            save_file(moments, temporary / "moments.safetensors")
        with replacing(self.folder / "checkpoints.json") as temporary:
            temporary.write_text(json.dumps(asdict(after)))
        for other in self.folder.glob("step-*"):
            if other not in (self._folder(after.last), self._folder(after.best)):
                shutil.rmtree(other)

    def read(self, which: str, member: str) -> tuple[int, dict[str, np.ndarray], dict[str, np.ndarray]]:
        """(step, weights, moments) of the `last` or the `best`; ValueError for another member's weights."""
        from safetensors.numpy import load_file

        state = self.state
        if state is None:
            raise ValueError(f"{self.folder} holds no checkpoint; train the stage again with --force")
        if state.member != member:
            raise ValueError(f"{self.folder} holds weights of {state.member}, not of {member}")
        step = state.last if which == "last" else state.best
        folder = self._folder(step)
        return step, load_file(folder / "weights.safetensors"), load_file(folder / "moments.safetensors")

    def _folder(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"
