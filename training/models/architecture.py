"""What every architecture declares to the rest of training; a config overrides what is different for it."""

from dataclasses import dataclass
from typing import ClassVar, Self


@dataclass(frozen=True)
class Architecture:
    """Base of the configs: frozen dataclasses of hyper-parameters.

    A kind of members has its own base, which adds how a model is built: `TorchArchitecture` (`window_model`),
    `KerasArchitecture` (`keras_model`); `BoostedConfig` is the one config in LightGBM.
    """

    # Name of its kind, a key of `training.fit.kinds.KINDS`; each kind's base sets it.
    framework: ClassVar[str]
    # Version of the stored weights' order; another version is another stage, and old checkpoints are not read.
    layout: ClassVar[int | None] = None
    least_modalities: ClassVar[int] = 1
    # Whether training uses statistics of the batch, so that the parts of an accumulated batch teach something else.
    has_batch_norm: ClassVar[bool] = False
    # Whether it learns from video-level labels first.
    pretrains: ClassVar[bool] = True

    @property
    def builds_on(self) -> tuple[str, ...]:
        """Names of the members of the same line-up that it builds on."""
        return ()

    @property
    def weighs_frames(self) -> bool:
        """Whether training on a frame of weight 2 equals training on that frame twice."""
        return False

    def with_batch_norm_decay(self, decay: float) -> Self:
        """The same config with another decay of the moving averages; itself if it has no batch normalisation."""
        return self
