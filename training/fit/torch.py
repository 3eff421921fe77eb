"""Members in PyTorch: Adam, each gradient tensor clipped by itself, dropout that a step alone decides."""

from collections.abc import Iterable
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from training.fit import processes
from training.fit.loop import CLIP, Predictor
from training.fit.options import DEFAULT, TorchOptions
from training.member import Member
from training.models.boosted import BoostedConfig
from training.models.loss import Objective
from training.models.window_model import WindowModel
from training.windows.examples import Batch
from training.windows.segments import Windows
from videos.dataset import Dataset

FRAMES = 1024  # frames encoded at a time when predicting
BLOCK = 256  # windows scored at a time


class TorchEstimator:
    """`training.fit.loop.GradientEstimator` over a torch module; several processes learn as one (`processes`)."""

    def __init__(self, member: Member, dataset: Dataset, options: TorchOptions = DEFAULT):
        self.device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        place = processes.join(self.device.type == "cuda")
        if self.device.type == "cuda" and processes.count() > 1:
            self.device = torch.device("cuda", place)
            torch.cuda.set_device(self.device)
        torch.manual_seed(member.seed)
        assert not isinstance(member.config, BoostedConfig)
        window = member.sampler.length(dataset.segment_frames)
        module = member.config.build(dataset.modalities, dataset.classes, window)
        self.module: WindowModel = module.to(self.device)  # pyright: ignore[reportAttributeAccessIssue]
        if member.sampler.weighted and not self.module.weighs_frames:
            raise ValueError(
                f"{member.name} learns otherwise from weighted frames than from repeated ones; "
                "give it a sampler that is not weighted"
            )
        self.step = 0
        self._seed, self._options = member.seed, options
        self._named = dict(self.module.named_parameters())
        self._optimizer = torch.optim.Adam(self._named.values(), betas=(0.9, 0.999), eps=1e-8, fused=True)
        self._objective: nn.Module = Objective(self.module)
        if options.compile:
            self._objective.compile()
        if processes.count() > 1:
            # Every process has the same moving averages: batch statistics are of the whole batch.
            self._objective = DistributedDataParallel(
                self._objective, broadcast_buffers=False, gradient_as_bucket_view=True
            )

    def train_step(self, batch: Batch, rate: float) -> Tensor:
        torch.manual_seed((self._seed * 1_000_003 + self.step) * processes.count() + processes.rank())
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self.module.train()
        self._optimizer.zero_grad(set_to_none=True)
        loss = torch.zeros((), device=self.device)
        parts = list(self._parts(batch))
        for i, part in enumerate(parts):
            is_last = i == len(parts) - 1
            with self._apart() if not is_last else nullcontext():
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self._options.precision == "bf16"):
                    share = self._objective(*part) / len(parts)
                loss += share.detach()
                share.backward()
        if processes.count() > 1:
            torch.distributed.all_reduce(loss)
            loss /= processes.count()
        for parameter, factor in self.module.decays():
            if parameter.grad is not None:
                parameter.grad.add_(parameter.detach(), alpha=factor)
        clip_each(self._named.values())
        self._optimizer.step()
        self.step += 1
        return loss

    def predictor(self, columns: np.ndarray) -> Predictor:
        module = self.module.scored(torch.as_tensor(columns, device=self.device))

        @torch.inference_mode()
        def predict(windows: Windows) -> np.ndarray:
            frames, index, times = (
                torch.from_numpy(array).to(self.device)
                for array in (windows.frames, windows.index, windows.frame_weights)
            )
            parts = [module.encode_frames(part) for part in frames.split(FRAMES)]
            encoded = tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))
            scores = [
                module.score_indexed(encoded, rows, weights)
                for rows, weights in zip(index.split(BLOCK), times.split(BLOCK), strict=True)
            ]
            return torch.cat(scores).cpu().numpy()

        return predict

    def servable(self) -> nn.Module:
        return self.module

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
                    "step": torch.tensor(float(step), device=self.device),
                    "exp_avg": torch.from_numpy(moments[f"{name}/exp_avg"]).to(self.device),
                    "exp_avg_sq": torch.from_numpy(moments[f"{name}/exp_avg_sq"]).to(self.device),
                }
        self.step = step

    def _parts(self, batch: Batch) -> Iterable[tuple[Tensor | None, ...]]:
        """The parts of a batch that go through the model one after the other, as arguments of the objective."""
        size, parts = len(batch.labels), self._options.accumulate
        if size % parts:
            raise ValueError(f"a batch of {size} cannot be learnt from in {parts} parts; choose a divisor of {size}")
        for first in range(0, size, size // parts):
            rows = slice(first, first + size // parts)
            yield tuple(
                None if array is None else torch.from_numpy(array[rows]).to(self.device)
                for array in (batch.features, batch.frame_weights, batch.labels, batch.mask)
            )

    def _apart(self):
        """Keep the gradients of this process to itself for now."""
        return self._objective.no_sync() if isinstance(self._objective, DistributedDataParallel) else nullcontext()


def clip_each(parameters: Iterable[nn.Parameter]) -> None:
    """Scale each gradient to an L2 norm of at most CLIP, tensor by tensor as the original does, not all together."""
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.mul_(CLIP / parameter.grad.norm().clamp(min=CLIP))
