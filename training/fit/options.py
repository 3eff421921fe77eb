"""Options of PyTorch training that change speed and memory; none is part of a member."""

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import arg

from training.limits import Limited


@dataclass(frozen=True)
class TorchOptions(Limited):
    """Options of members in PyTorch; members in other frameworks ignore them."""

    device: Annotated[str | None, arg(metavar="DEVICE", help_behavior_hint="")] = None
    """Device for torch, such as cuda:0. Default: CUDA if there is one."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of training; bf16 keeps weights and losses in fp32. Another precision is another stage."""
    compile: bool = False
    """Compile the model for training, which pays off after some minutes."""
    accumulate: int = 1
    """Process each batch in this many parts, to save memory."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.accumulate < 1:
            raise ValueError(f"--accumulate is {self.accumulate}; it must be at least 1")


DEFAULT = TorchOptions()
