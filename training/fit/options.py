"""How torch is to compute: choices that cost or save time and leave a member what it is."""

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import arg

from training.limits import one_of


@dataclass(frozen=True)
class TorchOptions:
    """What the members in PyTorch are trained with; the others take no notice."""

    device: Annotated[str | None, arg(metavar="DEVICE", help_behavior_hint="")] = None
    """Device for torch, such as cuda:0. Default: CUDA where there is one."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of training; bf16 keeps weights and losses in fp32. Another precision is another stage."""
    compile: bool = False
    """Compile the model for training, which pays after some minutes."""
    accumulate: int = 1
    """Parts in which a batch goes through the model, one after the other, where memory is short."""

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise ValueError(f"--accumulate is {self.accumulate}; it must be at least 1")
        one_of(self, ("fp32", "bf16"), precision=self.precision)


DEFAULT = TorchOptions()
