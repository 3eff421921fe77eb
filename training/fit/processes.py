"""Several processes on one machine that learn as one: `torchrun --nproc-per-node 2 -m training pretrain ...`.

Each learns from its share of every batch, and their gradients are averaged; the first alone validates, keeps
checkpoints, logs and writes. Who one is stands in the environment, where torchrun puts it.
"""

import os
from datetime import timedelta

PATIENCE = timedelta(days=1)  # the others wait while the first validates and logs


def rank() -> int:
    """The number of this process, 0 for the first."""
    return int(os.environ.get("RANK", 0))


def count() -> int:
    return int(os.environ.get("WORLD_SIZE", 1))


def share(size: int) -> slice:
    """The part of a batch of `size` examples that this process learns from."""
    if size % count():
        raise ValueError(f"{count()} processes do not divide a batch of {size}; start a number of them that does")
    each = size // count()
    return slice(rank() * each, (rank() + 1) * each)


def join(on_cuda: bool) -> int:
    """Meet the other processes, where there are any; returns the number of this one's device."""
    import atexit

    from torch import distributed

    if count() > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if on_cuda else "gloo", timeout=PATIENCE)
        atexit.register(distributed.destroy_process_group)
    return int(os.environ.get("LOCAL_RANK", 0))


def wait() -> None:
    """Go on when all processes have come here."""
    if count() > 1:
        from torch import distributed

        distributed.barrier()


def alone(what: str) -> None:
    """ValueError where there are several processes and `what` is work for one."""
    if count() > 1:
        raise ValueError(
            f"{what} is work for one process: start it with python; torchrun is for torch members to train"
        )
