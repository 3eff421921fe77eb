"""A kind of members made for the tests: logistic regression on the mean frame, its gradient steps in NumPy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from training.fit.kinds import Kind
from training.fit.loop import Predictor
from training.fit.options import TorchOptions
from training.member import Member
from training.models.architecture import Architecture
from training.windows.examples import Batch
from training.windows.segments import Windows
from videos.dataset import Dataset


@dataclass(frozen=True)
class ToyLinearConfig(Architecture):
    framework: ClassVar[str] = "toy"

    momentum: float = 0.9


class Served(nn.Module):
    """What is logged: MLflow has a format for torch modules, and none for this kind."""

    def __init__(self, weights: np.ndarray):
        super().__init__()
        self.weights = nn.Parameter(torch.from_numpy(weights))

    def forward(self, features: Tensor) -> Tensor:
        return (features.mean(1) @ self.weights).sigmoid()


class ToyEstimator:
    def __init__(self, member: Member, dataset: Dataset, options: TorchOptions):
        self.step = 0
        self._momentum = cast(ToyLinearConfig, member.config).momentum
        rng = np.random.default_rng(member.seed)
        self._weights = 0.01 * rng.normal(size=(dataset.width, dataset.classes)).astype(np.float32)
        self._moments = np.zeros_like(self._weights)

    def prepared(self, batch: Batch) -> Batch:
        return batch

    def train_step(self, batch: Batch, rate: float) -> float:
        means = batch.features.mean(1)
        p = _sigmoid(means @ self._weights)
        gradient = means.T @ (p - batch.labels) / len(p)
        self._moments = (self._momentum * self._moments + gradient).astype(np.float32)
        self._weights = (self._weights - rate * self._moments).astype(np.float32)
        self.step += 1
        return float(((p - batch.labels) ** 2).mean())

    def predictor(self, columns: np.ndarray) -> Predictor:
        weights = self._weights[:, columns].copy()

        def predict(windows: Windows) -> np.ndarray:
            times = windows.frame_weights[..., None]
            return _sigmoid(((times * windows.features).sum(1) / times.sum(1)) @ weights)

        return predict

    def servable(self) -> nn.Module:
        return Served(self._weights)

    def weights(self) -> dict[str, np.ndarray]:
        return {"weights": self._weights.copy()}

    def moments(self) -> dict[str, np.ndarray]:
        return {"weights": self._moments.copy()}

    def restore(self, step: int, weights: dict[str, np.ndarray], moments: dict[str, np.ndarray]) -> None:
        self.step, self._weights = step, weights["weights"].copy()
        self._moments = moments["weights"].copy() if moments else np.zeros_like(self._weights)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-x))).astype(np.float32)


def _parameters(member: Member, widths: Mapping[str, int], classes: int, window: int) -> int:
    return sum(widths.values()) * classes


KIND = Kind("NumPy", "torch", _parameters, ToyEstimator)
