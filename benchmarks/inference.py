"""`python -m benchmarks.inference`: one pass over the videos for all shifts, beside plain passes a shift.

A plain pass reads the windows of one shift, computes every frame as often as it is drawn, and scores all classes, of
which the scored ones are kept. Both give the same scores. Everything is generated, at paper size, and members are
measured one after the other; times are the best of a few, taken in turns.
"""

import json as json_format
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.videos import write_videos
from scoring.dataset import segments_of
from training.estimators.torch import BLOCK, TorchEstimator
from training.frames import FrameStore
from training.members import Member, line_up
from training.options import TorchOptions
from training.windows import SegmentWindows

SHIFTS = (-2, -1, 0, 1)
REPEATS = 3
# Time of one pass, relative to plain passes: what the arithmetic allows.
GOALS = {"mix-nextvlad-300": 0.1, "bert-l2h12-concat": 0.5, "bert-l3h12-concat": 0.5}
GOAL, MATRIX_GOAL = 0.75, 0.7
PLAIN_FRAMES = 9_000  # that a plain pass computes: where many are drawn, it goes over some of the segments alone


@dataclass(frozen=True)
class Figures:
    """`against_plain`: time of one pass for all shifts, relative to a plain pass for each.

    `share_of_matrix_product`: multiply-adds a second in that pass, relative to a bare matrix product of the size that
    the member spends most on.
    """

    name: str
    windows_per_second: float
    against_plain: float
    goal: float
    multiply_adds_per_second: float
    matrix_product_per_second: float
    share_of_matrix_product: float
    largest_difference: float


def run(members: tuple[str, ...] = (), videos: int = 2, json: bool = False) -> None:
    """Measure the gradient members of the line-up beyond.

    Args:
        members: Their names. Default: all.
        videos: How many videos of 300 frames to go over.
        json: Print a JSON list.
    """
    chosen = [m for m in line_up("beyond") if m.framework != "lightgbm" and (not members or m.name in members)]
    if unknown := set(members) - {member.name for member in chosen}:
        raise SystemExit(f"no gradient member {', '.join(sorted(unknown))}; see `python -m training members`")
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        store = write_videos(Path(folder) / "videos", videos, "test")
        for member in chosen:
            print(f"measuring {member.name} ...", file=sys.stderr, flush=True)
            figures.append(measure(member, store))
    if json:
        print(json_format.dumps([asdict(row) for row in figures], indent=1))
    else:
        print_figures(figures)


def measure(member: Member, store: FrameStore) -> Figures:
    """The figures of one member, whose weights are as they were initialised."""
    columns = np.asarray(store.dataset.scored_classes)
    segments = segments_of(store.split("test"), store.dataset)
    windows = SegmentWindows(store, segments, member.sampler)
    ours = np.arange(len(segments))
    plain = ours[: max(PLAIN_FRAMES // member.sampler.length(store.dataset), 1)]
    measured = (_keras if member.framework == "keras" else _torch)(member, store, windows, columns)
    together, apart, multiply_adds = measured.together, measured.apart, measured.multiply_adds

    expected = apart(plain)
    difference = np.abs(together(plain) - expected).max()
    once, a_shift, bare = [], [], []
    for _ in range(REPEATS):
        bare.append(_matrix_product(measured))
        once.append(_seconds(lambda: together(ours)))
        a_shift.append(_seconds(lambda: apart(plain)))
    count = len(ours) * len(SHIFTS)
    seconds = min(once) / count
    rate = multiply_adds / seconds
    return Figures(
        member.name,
        1 / seconds,
        seconds / (min(a_shift) / (len(plain) * len(SHIFTS))),
        GOALS.get(member.name, GOAL),
        rate,
        max(bare),
        rate / max(bare),
        float(difference),
    )


@dataclass(frozen=True)
class Measured:
    """What predicts the scores (shifts, segments, classes) of segments, in one pass and in plain ones.

    `multiply_adds` are those of a window in the one pass, `size` (rows, width, output) is the matrix product with most
    of them, and `product` is one of that size in the same framework.
    """

    together: Callable[[np.ndarray], np.ndarray]
    apart: Callable[[np.ndarray], np.ndarray]
    multiply_adds: float
    size: tuple[int, int, int]
    product: Callable[[], object]


def _torch(member: Member, store: FrameStore, windows: SegmentWindows, columns: np.ndarray) -> Measured:
    estimator = TorchEstimator(member, store.dataset, TorchOptions(device="cpu"))
    predictor = estimator.predictor(columns)

    def together(entries: np.ndarray) -> np.ndarray:
        return predictor(windows.at(entries, *SHIFTS)).reshape(len(SHIFTS), len(entries), -1)

    @torch.inference_mode()
    def apart(entries: np.ndarray) -> np.ndarray:
        module, shifts = estimator.module.eval(), []
        for shift in SHIFTS:
            scores = []
            for first in range(0, len(entries), BLOCK):
                block = windows.at(entries[first : first + BLOCK], shift)
                drawn = _drawn(block.features, block.frame_weights, member)
                scores.append(module(torch.from_numpy(drawn))[:, torch.from_numpy(columns)])
            shifts.append(torch.cat(scores).numpy())
        return np.stack(shifts)

    with FlopCounterMode(display=False) as counter, Largest() as largest:
        together(np.arange(len(windows)))
    per_window = counter.get_total_flops() / 2 / len(windows) / len(SHIFTS)
    rows, width, output = largest.size
    x, weight = torch.randn(rows, width), torch.randn(output, width)
    return Measured(together, apart, per_window, largest.size, lambda: torch.nn.functional.linear(x, weight))


def _keras(member: Member, store: FrameStore, windows: SegmentWindows, columns: np.ndarray) -> Measured:
    """In Keras every class gates every other, so that there is little that one pass can save."""
    import tensorflow as tf

    from training.estimators.keras import KerasEstimator

    estimator = KerasEstimator(member, store.dataset)
    predictor = estimator.predictor(columns)
    layers = estimator.model.layers
    dense = [layer for layer in layers if type(layer).__name__ == "Dense"]  # pyright: ignore
    times = [store.dataset.segment_frames if len(layer.input.shape) == 3 else 1 for layer in dense]
    per_window = sum(layer.kernel.shape.num_elements() * each for layer, each in zip(dense, times, strict=True))
    width, output = max((tuple(layer.kernel.shape) for layer in dense), key=np.prod)

    def together(entries: np.ndarray) -> np.ndarray:
        return predictor(windows.at(entries, *SHIFTS)).reshape(len(SHIFTS), len(entries), -1)

    def apart(entries: np.ndarray) -> np.ndarray:
        return np.stack([predictor(windows.at(entries, shift)) for shift in SHIFTS])

    x, weight = tf.random.normal((BLOCK, width)), tf.random.normal((width, output))
    return Measured(together, apart, per_window, (BLOCK, width, output), lambda: tf.matmul(x, weight))


def _drawn(features: np.ndarray, frame_weights: np.ndarray, member: Member) -> np.ndarray:
    """Every frame as often as it is drawn (B, draws, D)."""
    if member.sampler.kind == "sequence":
        return features
    pairs = zip(features, frame_weights.astype(int), strict=True)
    return np.stack([np.repeat(frames, times, axis=0) for frames, times in pairs])


class Largest(TorchDispatchMode):
    """Notes the linear map with the most multiply-adds: (rows, width, output)."""

    size = (0, 0, 0)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.linear.default:
            x, weight = args[0], args[1]
            size = (x.numel() // x.shape[-1], weight.shape[1], weight.shape[0])
            self.size = max(self.size, size, key=np.prod)
        return function(*args, **(kwargs or {}))


def _matrix_product(measured: Measured) -> float:
    """Multiply-adds a second of a bare product of the member's largest size."""
    rows, width, output = measured.size
    times: list[float] = []
    while len(times) < 3 or sum(times) < 0.3:
        times.append(_seconds(measured.product))
    return rows * width * output / min(times)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def print_figures(figures: list[Figures]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"Prediction under {len(SHIFTS)} shifts, {torch.get_num_threads()} threads", title_justify="left"
    )
    table.add_column("member", no_wrap=True)
    for column in ("windows/s", "against plain passes", "goal", "GMAC/s", "bare product", "share"):
        table.add_column(column, justify="right")
    for row in figures:
        table.add_row(
            row.name,
            f"{row.windows_per_second:.1f}",
            f"{row.against_plain:.3f}",
            f"{row.goal:.2f}",
            f"{row.multiply_adds_per_second / 1e9:.1f}",
            f"{row.matrix_product_per_second / 1e9:.1f}",
            f"{row.share_of_matrix_product:.0%}",
        )
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    console.print("GMAC: 10^9 multiply-adds, beside those of a bare matrix product of the size a member spends most on")
    difference = max(row.largest_difference for row in figures)
    console.print(
        f"goal of the share: {MATRIX_GOAL:.0%}; scores differ from the plain passes' by {difference:.1e} at most"
    )


if __name__ == "__main__":
    import tyro

    tyro.cli(run, prog="python -m benchmarks.inference", config=(tyro.conf.FlagCreatePairsOff,))
