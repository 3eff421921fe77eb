"""`python -m benchmarks.training [--device cuda]`: the speed of a training step of each torch member, at paper size.

A step is forward, loss, backward, L2 terms, clipping and Adam on a batch that is there already. Needs torch, numpy and
`training.models` alone, so that it runs on a bare GPU machine; `--overhead` compares the loop that trains
members, with its data and logging, with bare steps like these, and needs the whole package.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from training.models.bert import BertConfig
from training.models.bert_cross import BertCrossConfig
from training.models.context_aware import ContextAwareConfig
from training.models.loss import binary_cross_entropy
from training.models.mix_nextvlad import MixNeXtVladConfig
from training.models.window_model import WindowModel

WIDTHS, CLASSES = {"rgb": 1024, "audio": 128}, 3862
Config = BertConfig | BertCrossConfig | ContextAwareConfig | MixNeXtVladConfig
# Architecture and frames of a window in pre-training, where nearly all steps are taken.
MEMBERS: dict[str, tuple[Config, int]] = {
    "bert-l2h12-concat": (BertConfig(layers=2, heads=12, pooling="concat"), 5),
    "bert-cross-l2h8-mean": (BertCrossConfig(heads=8, pooling="mean"), 5),
    "bert-l3h12-concat": (BertConfig(layers=3, heads=12, pooling="concat"), 5),
    "bert-cross-l2h8-attention": (BertCrossConfig(heads=8, pooling="attention"), 5),
    "bert-l2h12-first": (BertConfig(layers=2, heads=12, pooling="last"), 5),
    "mix-nextvlad-300": (MixNeXtVladConfig(), 300),
    "mix-nextvlad-60": (MixNeXtVladConfig(), 60),
    "bert-l2h12-mean": (BertConfig(layers=2, heads=12, pooling="mean"), 5),
    "context-aware": (ContextAwareConfig(), ContextAwareConfig().window(5)),
}
MODES = ("fp32", "bf16", "compiled")  # compiled: bf16 too
# Dense peaks in TFLOP/s as their maker gives them, fp32 without TF32; elsewhere a bare product is measured.
PEAKS = {
    "H100 PCIe": {"fp32": 51.2, "bf16": 756.0},
    "H100": {"fp32": 66.9, "bf16": 989.4},
    "H200": {"fp32": 66.9, "bf16": 989.4},
    "A100": {"fp32": 19.5, "bf16": 312.0},
}
WARM_UP = 3
ROUNDS = 5


@dataclass(frozen=True)
class StepSpeed:
    member: str
    mode: str
    batch: int
    samples_per_second: float
    tflops: float  # multiply and add counted each, matrix products alone
    peak_tflops: float
    share_of_peak: float
    loss: float


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--device", default="cpu", help="torch device (default: cpu)")
    parser.add_argument("--members", nargs="*", choices=MEMBERS, help="default: all; one with --overhead")
    parser.add_argument("--modes", nargs="*", choices=MODES, help="default: all; fp32 with --overhead")
    parser.add_argument("--batch", type=int, help="default: 128 as in training, 8 on a CPU")
    parser.add_argument("--steps", type=int, help="steps to time (default: 20, 2 on a CPU)")
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    parser.add_argument("--overhead", action="store_true", help="the training loop against bare steps instead")
    arguments = parser.parse_args()
    on_cpu = torch.device(arguments.device).type == "cpu"
    if arguments.overhead:
        members = arguments.members or ["bert-l2h12-mean"]
        modes = arguments.modes or ["fp32"]
        return print_overhead(members, modes, arguments.device, arguments.batch or 128, arguments.steps or 4)
    members, modes = arguments.members or list(MEMBERS), arguments.modes or list(MODES)
    batch, steps = arguments.batch or (8 if on_cpu else 128), arguments.steps or (2 if on_cpu else 20)
    peaks = {precision: peak_of(arguments.device, precision) for precision in ("fp32", "bf16")}
    if not arguments.json:
        name = "CPU" if on_cpu else torch.cuda.get_device_name(arguments.device)
        print(f"{name}, torch {torch.__version__}, batches of {batch}")
        print(f"{'member':<26}{'mode':<10}{'samples/s':>11}{'TFLOP/s':>10}{'of peak':>9}{'loss':>10}")
    figures = []
    for member in members:
        for mode in modes:
            row = measure(member, mode, torch.device(arguments.device), batch, steps, peaks)
            figures.append(row)
            if not arguments.json:
                speed = f"{row.samples_per_second:>11.1f}{row.tflops:>10.2f}{row.share_of_peak:>9.1%}"
                print(f"{row.member:<26}{row.mode:<10}{speed}{row.loss:>10.1f}", flush=True)
    if arguments.json:
        print(json.dumps([asdict(row) for row in figures], indent=1))


def measure(
    member: str,
    mode: str,
    device: torch.device,
    batch: int,
    steps: int,
    peaks: dict[str, float],
    classes: int = CLASSES,
) -> StepSpeed:
    """Speed of one member, freshly initialised."""
    torch.compiler.reset()  # members share code, and one function is compiled a limited number of times
    torch.manual_seed(0)
    config, frames = MEMBERS[member]
    with device:
        model = config.build(WIDTHS, classes, frames)
        features, labels = torch.rand(batch, frames, sum(WIDTHS.values())) * 4 - 2, torch.zeros(batch, classes)
        labels[:, :3] = 1.0
    step = bare_step(model, mode, features, labels)
    loss = 0.0
    for _ in range(WARM_UP if mode == "compiled" else 1):
        loss = step()
    _finish(device)
    began = time.perf_counter()
    for _ in range(steps):
        loss = step()
    _finish(device)
    seconds = (time.perf_counter() - began) / steps
    peak = peaks["fp32" if mode == "fp32" else "bf16"]
    tflops = step_flops(member, batch, classes) / seconds / 1e12
    return StepSpeed(member, mode, batch, batch / seconds, tflops, peak, tflops / peak, float(loss))


def bare_step(
    model: WindowModel, mode: str, features: torch.Tensor, labels: torch.Tensor
) -> Callable[[], torch.Tensor | float]:
    """A step of training on one batch, over and over, at a rate that does not matter; returns the loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5, fused=True)
    model.train()

    def loss_of_batch() -> torch.Tensor:
        return model.loss(features, None, labels)

    compute = torch.compile(loss_of_batch) if mode == "compiled" else loss_of_batch

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(features.device.type, torch.bfloat16, enabled=mode != "fp32"):
            loss = compute()
        loss.backward()
        for parameter, factor in model.decays():
            parameter.grad.add_(parameter.detach(), alpha=factor)  # pyright: ignore[reportOptionalMemberAccess]
        for parameter in model.parameters():
            gradient = parameter.grad
            gradient.mul_(1 / gradient.norm().clamp(min=1.0))  # pyright: ignore[reportOptionalMemberAccess]
        optimizer.step()
        return loss.detach()

    return step


def step_flops(member: str, batch: int, classes: int = CLASSES) -> int:
    """Floating-point operations of the matrix products of a step, forward and backward; nothing is computed."""
    config, frames = MEMBERS[member]
    with torch.device("meta"):
        model = config.build(WIDTHS, classes, frames)
        features, labels = torch.empty(batch, frames, sum(WIDTHS.values())), torch.empty(batch, classes)
    with FlopCounterMode(display=False) as counter:
        binary_cross_entropy(model(features), labels).backward()
    return counter.get_total_flops()


def peak_of(device: str, precision: str) -> float:
    """TFLOP/s of the device: what its maker says, or what a large product reaches."""
    if torch.device(device).type == "cuda":
        name = torch.cuda.get_device_name(device)
        for known, peaks in PEAKS.items():
            if known in name:
                return peaks[precision]
    size = 8192 if torch.device(device).type == "cuda" else 2048
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    x = torch.randn(size, size, device=device, dtype=dtype)
    times = []
    for _ in range(4):
        _finish(torch.device(device))
        began = time.perf_counter()
        torch.mm(x, x)
        _finish(torch.device(device))
        times.append(time.perf_counter() - began)
    return 2 * size**3 / min(times) / 1e12


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# ---- the training loop beside bare steps


def print_overhead(members: Sequence[str], modes: Sequence[str], device: str, batch: int, steps: int) -> None:
    """Time of a step in the training loop, its data and logging included, against a bare step; in turns."""
    import os
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        from benchmarks.videos import write_videos

        store = write_videos(Path(folder) / "videos", 2 * batch, "pretrain")
        print(f"Milliseconds a step of {batch} examples in the loop and bare, and what the loop adds, on {device}:")
        for member in members:
            for mode in modes:
                ours, bare = overhead(member, store, Path(folder), batch, steps, device=device, mode=mode)
                for clock, one, other in zip(("wall", "processor"), ours, bare, strict=True):
                    times = f"{1000 * one:>11.2f}{1000 * other:>11.2f}{one / other - 1:>+9.1%}"
                    print(f"  {member:<26}{mode:<10}{clock:<10}{times}", flush=True)


def overhead(
    member: str, store, folder, batch: int, steps: int, *, device: str = "cpu", mode: str = "fp32"
) -> tuple[list[float], list[float]]:
    """Wall and processor seconds of a step in our loop and of a bare one, the least of ROUNDS rounds of `steps`."""
    from tracking.writing import open_run
    from training.fit.checkpoints import Checkpoints
    from training.fit.loop import fit
    from training.fit.options import TorchOptions
    from training.fit.torch import TorchEstimator
    from training.member import Schedule
    from training.members import member_of
    from training.windows.examples import VideoExamples

    configured = member_of("paper", member)
    examples = VideoExamples(store, configured.sampler)
    options = TorchOptions(device, "fp32" if mode == "fp32" else "bf16", compile=mode == "compiled")
    schedule = Schedule(steps, steps, batch)

    class Unwritten(Checkpoints):
        """Writes nothing: checkpoints are not part of a step."""

        def write(self, *_: object) -> None: ...

    class Unread(TorchEstimator):
        """Reads no weights from the device, which only checkpoints ask for."""

        def weights(self) -> dict[str, np.ndarray]:
            return {}

        def moments(self) -> dict[str, np.ndarray]:
            return {}

    estimator = Unread(configured, store.dataset, options)
    sample = examples.batch(np.arange(batch), np.random.default_rng(0))
    features, labels = torch.from_numpy(sample.features).to(device), torch.from_numpy(sample.labels).to(device)
    step = bare_step(estimator.module, mode, features, labels)

    def bare() -> None:
        for _ in range(steps):
            step()
        _finish(torch.device(device))

    with open_run(store.dataset.name, "overhead", {}) as run:

        def loop() -> None:
            settings = {"member": configured, "schedule": schedule, "checkpoints": Unwritten(folder / "none")}
            fit(estimator, examples, **settings, report=run.metrics)

        for work in (loop, bare):
            work()
        pairs = [(_clocks(loop, steps), _clocks(bare, steps)) for _ in range(ROUNDS)]
    ours, others = zip(*pairs, strict=True)
    return [min(clock) for clock in zip(*ours, strict=True)], [min(clock) for clock in zip(*others, strict=True)]


def _clocks(work: Callable[[], None], steps: int) -> tuple[float, float]:
    """Wall and processor seconds a step."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - wall) / steps, (time.process_time() - processor) / steps


if __name__ == "__main__":
    main()
