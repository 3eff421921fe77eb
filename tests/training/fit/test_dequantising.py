"""Frames travel to the device as they are stored, and become the same features there, to the last bit."""

from typing import cast

import numpy as np
import pytest
import torch

from training.fit.keras import _features
from training.fit.torch import TorchEstimator
from training.job import Job
from training.members import member_of
from training.windows.clips import LEVELS, StoredFrames
from videos.store import FrameStore

VALUES = np.arange(256, dtype=np.uint8).reshape(2, 8, 16)
PADDING = np.arange(16).reshape(2, 8) % 5 == 0


@pytest.mark.parametrize("values", [VALUES, LEVELS[VALUES]], ids=["uint8", "float32"])
@pytest.mark.parametrize("padding", [None, PADDING], ids=["whole", "padded"])
def test_a_device_computes_the_features_of_numpy(
    tiny: FrameStore, values: np.ndarray, padding: np.ndarray | None
) -> None:
    frames = StoredFrames(values, padding)
    expected = LEVELS[VALUES].copy()
    if padding is not None:
        expected[padding] = 0.0
    estimator = cast(
        TorchEstimator, Job(lineup="paper", member=member_of("paper", "bert-l2h12-mean"), store=tiny).estimator()
    )
    assert frames.features().tobytes() == expected.tobytes()
    assert estimator._features(frames).numpy().tobytes() == expected.tobytes()
    assert np.asarray(_features(frames)).tobytes() == expected.tobytes()
    assert estimator._features(frames[1:]).dtype == torch.float32
    assert frames[1:].features().tobytes() == expected[1:].tobytes()
