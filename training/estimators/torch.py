"""Members in PyTorch: Adam, each gradient tensor clipped by itself, dropout that a step alone decides."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from scoring.dataset import Dataset
from training.fitting import Predictor
from training.members import Member
from training.models.loss import binary_cross_entropy
from training.windows import Batch, Windows

CLIP = 1.0  # the largest L2 norm of a gradient tensor
FRAMES = 1024  # frames encoded at a time when predicting
BLOCK = 256  # windows scored at a time


class TorchEstimator:
    """`training.fitting.GradientEstimator` over a torch module; on a CUDA device where there is one."""

    def __init__(self, member: Member, dataset: Dataset, device: str | None = None):
        """`device` names a torch device; None takes CUDA where there is one, the CPU otherwise."""
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.manual_seed(member.seed)
        window = member.sampler.length(dataset)
        self.module = member.config.build(dataset.modalities, dataset.classes, window).to(self.device)
        if member.sampler.weighted and not self.module.weighs_frames:
            raise ValueError(
                f"{member.name} learns otherwise from weighted frames than from repeated ones; "
                "give it a sampler that is not weighted"
            )
        self.step = 0
        self._seed = member.seed
        self._named = dict(self.module.named_parameters())
        self._optimizer = torch.optim.Adam(self._named.values(), betas=(0.9, 0.999), eps=1e-8)

    def train_step(self, batch: Batch, rate: float) -> Tensor:
        torch.manual_seed(self._seed * 1_000_003 + self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self.module.train()
        arrays = (batch.features, batch.frame_weights, batch.labels, batch.mask)
        loss = self._loss(*(self._tensor(array) for array in arrays))
        self._optimizer.zero_grad(set_to_none=True)
        (loss + self.module.penalty()).backward()
        clip_each(self._named.values())
        self._optimizer.step()
        self.step += 1
        return loss.detach()

    def predictor(self, columns: np.ndarray) -> Predictor:
        module = self.module.scored(torch.as_tensor(columns, device=self.device))

        @torch.inference_mode()
        def predict(windows: Windows) -> np.ndarray:
            frames = [module.encode_frames(part) for part in self._tensor(windows.frames).split(FRAMES)]
            encoded = [torch.cat(parts) for parts in zip(*frames, strict=True)]
            index, weights = self._tensor(windows.index), self._tensor(windows.frame_weights)
            scores = [
                module.score_windows(tuple(tensor[rows] for tensor in encoded), times)
                for rows, times in zip(index.split(BLOCK), weights.split(BLOCK), strict=True)
            ]
            return torch.cat(scores).cpu().numpy()

        return predict

    def weights(self) -> dict[str, np.ndarray]:
        return {name: tensor.detach().cpu().numpy() for name, tensor in self.module.state_dict().items()}

    def moments(self) -> dict[str, np.ndarray]:
        state = self._optimizer.state
        return {
            f"{name}/{moment}": state[parameter][moment].cpu().numpy()
            for name, parameter in self._named.items()
            if parameter in state
            for moment in ("exp_avg", "exp_avg_sq")
        }

    def restore(self, step: int, weights: dict[str, np.ndarray], moments: dict[str, np.ndarray]) -> None:
        self.module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
        self._optimizer.state.clear()
        if moments:
            for name, parameter in self._named.items():
                self._optimizer.state[parameter] = {
                    "step": torch.tensor(float(step)),
                    "exp_avg": self._tensor(moments[f"{name}/exp_avg"]),
                    "exp_avg_sq": self._tensor(moments[f"{name}/exp_avg_sq"]),
                }
        self.step = step

    def _loss(self, features: Tensor, weights: Tensor | None, labels: Tensor, mask: Tensor | None) -> Tensor:
        if hasattr(self.module, "loss"):  # branches that learn from each other have a loss of their own
            return self.module.loss(features, weights, labels, mask)
        return binary_cross_entropy(self.module(features, weights), labels, mask)

    def _tensor(self, array: np.ndarray | None) -> Tensor | None:
        return None if array is None else torch.from_numpy(array).to(self.device)


def clip_each(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Scale each gradient to an L2 norm of at most CLIP, tensor by tensor as the original does, not all together."""
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.mul_(CLIP / parameter.grad.norm().clamp(min=CLIP))
