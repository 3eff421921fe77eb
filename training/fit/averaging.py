"""Weight averaging: a stage evaluates and keeps the mean of the weights of its last checkpoints, and trains on.

The weights that training continues from are stored among a checkpoint's moments, so that a stage resumes to the same
bits, and a checkpoint without its moments is one to predict with, as ever.
"""

import numpy as np

Arrays = dict[str, np.ndarray]
TRAINED = "trained:"  # before the names of the weights that training continues from


def averaged(before: Arrays, trained: Arrays, number: int, window: int) -> Arrays:
    """The running mean of the weights over checkpoints; batch statistics are averaged like weights.

    Checkpoint `number` (from 1, the stage's initial weights not counted) moves the mean `before` towards the `trained`
    weights by 1 / min(number, window): a plain mean of the first `window` checkpoints, then one in which earlier ones
    fade, so that one set of weights is stored and not `window`. Integers (counters, random states) are the newest.
    """
    share = 1 / min(number, window)
    return {
        name: (before[name] + np.float32(share) * (array - before[name])).astype(array.dtype)
        if share < 1 and np.issubdtype(array.dtype, np.floating)
        else array
        for name, array in trained.items()
    }


def joined(trained: Arrays, moments: Arrays) -> Arrays:
    """What is stored as the moments of a checkpoint with averaged weights; `split` takes it apart."""
    return {**moments, **{f"{TRAINED}{name}": array for name, array in trained.items()}}


def split(stored: Arrays) -> tuple[Arrays, Arrays]:
    """The trained weights and the moments of a checkpoint, from what `joined` returned."""
    trained = {name.removeprefix(TRAINED): array for name, array in stored.items() if name.startswith(TRAINED)}
    return trained, {name: array for name, array in stored.items() if not name.startswith(TRAINED)}
