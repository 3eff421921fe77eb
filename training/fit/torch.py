"""Members in PyTorch: Adam, each gradient tensor clipped separately, random state seeded from the step number."""

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from training.fit import devices, processes
from training.fit.kinds import Kind
from training.fit.loop import CLIP, Predictor
from training.fit.options import DEFAULT, TorchOptions
from training.member import Member, Schedule
from training.models.architecture import TorchArchitecture
from training.models.loss import bernoulli_divergence
from training.models.window_model import WindowModel
from training.windows.clips import LEVELS, StoredFrames
from training.windows.examples import Batch
from training.windows.sampler import draws_at
from training.windows.segments import Windows
from training.windows.unrated import EXAMPLES, Unrated
from videos.dataset import Dataset

FRAMES = 1024  # frames encoded at a time when predicting
WINDOWS = 256  # windows scored at a time


Pairs = tuple[Tensor, Tensor | None, Tensor, float]  # features and frame weights of shifted windows, targets, factor


class TrainingLoss(nn.Module):
    """The loss as a module, since `compile` and DistributedDataParallel wrap modules.

    With `unrated`, it has a consistency term: the divergence, over the `scored` classes (ids), of the predictions for
    shifted windows of unrated videos from their targets.
    """

    def __init__(self, module: WindowModel, scored: Tensor):
        super().__init__()
        self.module, self.scored = module, scored

    def forward(
        self,
        features: Tensor,
        frame_weights: Tensor | None,
        labels: Tensor,
        mask: Tensor | None,
        unrated: Pairs | None = None,
    ) -> Tensor:
        loss = self.module.loss(features, frame_weights, labels, mask)
        if unrated is None:
            return loss
        shifted, weights, targets, factor = unrated
        predicted = self.module(shifted, weights)
        return loss + factor * bernoulli_divergence(targets[:, self.scored], predicted[:, self.scored])


class Served(nn.Module):
    """The model as it is logged (`GradientEstimator.servable`); `draws` is `Sampler.equal_draws`."""

    def __init__(self, module: WindowModel, draws: int | None):
        super().__init__()
        self.module, self.draws = module, draws

    def forward(self, features: Tensor) -> Tensor:
        if self.draws is None:
            return self.module(features)
        there = (features != 0).any(-1).float()
        positions = torch.arange(features.shape[1], device=features.device).float()
        valid = there.sum(1, keepdim=True).clamp_min(1)
        return self.module(features, draws_at(positions, self.draws, valid) * there)


class TorchEstimator:
    """`training.fit.loop.GradientEstimator` of a `WindowModel`, data-parallel under torchrun (`processes`)."""

    def __init__(self, member: Member, dataset: Dataset, options: TorchOptions = DEFAULT):
        self.device = device_of(options)
        local_rank = processes.join(self.device.type == "cuda")
        if self.device.type == "cuda" and processes.count() > 1:
            self.device = torch.device("cuda", local_rank)
            torch.cuda.set_device(self.device)
        torch.manual_seed(member.seed)
        window = member.sampler.length(dataset.segment_frames)
        self.module = _build(member, dataset.modalities, dataset.classes, window).to(self.device)
        self.step = 0
        self._seed, self._options = member.seed, options
        self._draws = member.sampler.equal_draws(dataset.segment_frames)
        self._levels = torch.from_numpy(LEVELS).to(self.device)
        self._named = dict(self.module.named_parameters())
        self._optimizer = torch.optim.Adam(self._named.values(), betas=(0.9, 0.999), eps=1e-8, fused=True)
        scored = torch.tensor(dataset.scored_classes, dtype=torch.long, device=self.device)
        self._loss: nn.Module = TrainingLoss(self.module, scored)
        if options.compile:
            self._loss.compile()
        if processes.count() > 1:
            # Batch statistics are those of the whole batch, so all processes have the same moving averages.
            self._loss = DistributedDataParallel(self._loss, broadcast_buffers=False, gradient_as_bucket_view=True)

    def prepared(self, batch: Batch) -> Batch:
        if self.device.type != "cuda":
            return batch
        # Copied to pinned memory between two steps, a batch keeps the GPU waiting for a sixth of a BERT's step.
        return batch.map(lambda array: torch.from_numpy(array).pin_memory().numpy())

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
            with nullcontext() if is_last else self._unsynchronised():
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self._options.precision == "bf16"):
                    share = self._loss(*part) / len(parts)
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
            index, times = self._sent(windows.index), self._sent(windows.frame_weights)
            blocks = range(0, len(windows.frames.values), FRAMES)
            parts = [module.encode_frames(self._features(windows.frames[i : i + FRAMES])) for i in blocks]
            encoded = tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))
            scores = [
                module.score_indexed(encoded, rows, weights)
                for rows, weights in zip(index.split(WINDOWS), times.split(WINDOWS), strict=True)
            ]
            return torch.cat(scores).cpu().numpy()

        return predict

    def servable(self) -> nn.Module:
        return Served(self.module, self._draws)

    def weights(self) -> dict[str, np.ndarray]:
        return {name: _copy(tensor) for name, tensor in self.module.state_dict().items()}

    def moments(self) -> dict[str, np.ndarray]:
        state = self._optimizer.state
        return {
            f"{name}/{moment}": _copy(state[parameter][moment])
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

    def _parts(self, batch: Batch) -> Iterable[tuple[Tensor | Pairs | None, ...]]:
        """The `accumulate` parts of a batch, as arguments of the loss."""
        size, parts = len(batch.labels), self._options.accumulate
        check_parts(size, parts, unrated=batch.unrated is not None)
        for first in range(0, size, size // parts):
            rows = slice(first, first + size // parts)
            others = (batch.frame_weights, batch.labels, batch.mask)
            yield (
                self._features(batch.frames[rows]),
                *(None if array is None else self._sent(array[rows]) for array in others),
                None if batch.unrated is None else self._pairs(batch.unrated, rows),
            )

    def _pairs(self, unrated: Unrated, rows: slice) -> Pairs:
        """The shifted windows that belong to the examples `rows` of a batch, with their targets.

        The target of a shifted window is what the model predicts for the window without the shift: in evaluation mode,
        in full precision, without a gradient.
        """
        part = slice(2 * rows.start // EXAMPLES, 2 * rows.stop // EXAMPLES)
        features, weights = self._features(unrated.frames[part]), None
        if unrated.frame_weights is not None:
            weights = self._sent(unrated.frame_weights[part])
        plain, shifted = ((features[i::2], None if weights is None else weights[i::2]) for i in (0, 1))
        self.module.eval()
        with torch.no_grad():
            targets = self.module(*plain)
        self.module.train()
        return *shifted, targets, unrated.consistency

    def _features(self, frames: StoredFrames) -> Tensor:
        """The features (..., D), dequantised on the device."""
        features = self._sent(frames.values)
        if features.dtype == torch.uint8:
            features = self._levels.index_select(0, features.int().flatten()).view(features.shape)
        return features if frames.padding is None else features.masked_fill(self._sent(frames.padding)[..., None], 0.0)

    def _sent(self, array: np.ndarray) -> Tensor:
        """The array on the device; a GPU copies it while the processor goes on."""
        tensor = torch.from_numpy(array)
        if self.device.type != "cuda":
            return tensor.to(self.device)
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def _unsynchronised(self):
        """Context in which gradients are accumulated without averaging over processes."""
        return self._loss.no_sync() if isinstance(self._loss, DistributedDataParallel) else nullcontext()


def _copy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", copy=True).numpy()


def clip_each(parameters: Iterable[nn.Parameter]) -> None:
    """Scale each gradient tensor separately to an L2 norm of at most CLIP, as the original does."""
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.mul_(CLIP / parameter.grad.norm().clamp(min=CLIP))


def device_of(options: TorchOptions) -> torch.device:
    """The torch device of `options`; ValueError if this machine has no such device."""
    name = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # a build without CUDA asserts
        raise ValueError(f"torch has no device {name!r} on this machine; give --device cpu, or leave it out") from error
    return device


def _device_name(options: TorchOptions) -> str:
    device = device_of(options)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else devices.CPU


def check_parts(size: int, parts: int, *, unrated: bool) -> None:
    """ValueError if `parts` do not divide a process's share of a batch, `size` examples, and its `unrated` windows."""
    if size % parts:
        raise ValueError(f"--accumulate is {parts}, which does not divide a batch of {size}; choose a divisor")
    if unrated and size // parts % EXAMPLES:
        raise ValueError(
            f"consistency needs parts of a multiple of {EXAMPLES} examples, and --accumulate {parts} divides the "
            f"process's {size} into parts of {size // parts}; choose another batch, --accumulate or number of processes"
        )


def _check(options: TorchOptions, schedule: Schedule | None) -> None:
    device_of(options)
    if schedule:
        share = processes.share(schedule.batch)
        check_parts(share.stop - share.start, options.accumulate, unrated=schedule.consistency > 0)


def _build(member: Member, widths: Mapping[str, int], classes: int, window: int) -> WindowModel:
    return cast(TorchArchitecture, member.config).build(widths, classes, window)


def _parameters(member: Member, widths: Mapping[str, int], classes: int, window: int) -> int:
    with torch.device("meta"):  # shapes alone, nothing is allocated
        module = _build(member, widths, classes, window)
    return sum(parameter.numel() for parameter in module.parameters())


KIND = Kind(
    "PyTorch",
    "torch",
    _parameters,
    TorchEstimator,
    device=_device_name,
    shares_work=True,
    learns_unrated=True,
    check=_check,
)
