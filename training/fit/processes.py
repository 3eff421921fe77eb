"""Data-parallel training on one machine: `torchrun --nproc-per-node 2 -m training pretrain ...`.

Each process trains on its share of every batch, and gradients are averaged. Only process 0 validates, logs and writes
checkpoints. torchrun sets the environment variables RANK, LOCAL_RANK and WORLD_SIZE.
"""

import os
from datetime import timedelta

PATIENCE = timedelta(days=1)  # the other processes wait while process 0 validates and logs


def rank() -> int:
    return int(os.environ.get("RANK", 0))


def count() -> int:
    return int(os.environ.get("WORLD_SIZE", 1))


def share(size: int) -> slice:
    """This process's part of a batch of `size` examples."""
    if size % count():
        raise ValueError(f"{count()} processes do not divide a batch of {size}; start a number of them that does")
    each = size // count()
    return slice(rank() * each, (rank() + 1) * each)


def join(on_cuda: bool) -> int:
    """Initialise the process group if there are several processes; returns the local rank."""
    import atexit

    from torch import distributed

    if count() > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if on_cuda else "gloo", timeout=PATIENCE)
        atexit.register(distributed.destroy_process_group)
    return int(os.environ.get("LOCAL_RANK", 0))


def wait() -> None:
    """Barrier: return once all processes have called it."""
    if count() > 1:
        from torch import distributed

        distributed.barrier()


def alone(what: str) -> None:
    """ValueError if there are several processes; `what` runs in one."""
    if count() > 1:
        raise ValueError(f"{what} is work for one process: start it with python; torchrun trains torch members only")
