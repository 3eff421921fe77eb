"""`python -m benchmarks.inference`: one pass over the videos for all shifts, beside plain passes a shift.

A plain pass reads the windows of one shift, computes every frame as often as it is drawn, and scores all classes, of
which the scored ones are kept. Both give the same scores. Everything is generated, at paper size, and members are
measured one after the other; times are the best of a few, taken in turns.
"""

import json as json_format
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import timed
from benchmarks.videos import write_videos
from training.fit.loop import Predictor
from training.fit.options import TorchOptions
from training.fit.torch import WINDOWS, TorchEstimator
from training.member import Member
from training.members import line_up
from training.windows.segments import SegmentWindows, Windows
from videos.segments import segments_of
from videos.store import FrameStore

SHIFTS = (-2, -1, 0, 1)
REPEATS = 3
# Time of one pass, relative to plain passes: what the arithmetic allows.
GOALS = {"mix-nextvlad-300": 0.1, "bert-l2h12-concat": 0.5, "bert-l3h12-concat": 0.5}
GOAL, MATRIX_GOAL = 0.75, 0.7
PLAIN_FRAMES = 9_000  # that a plain pass computes: where many are drawn, it goes over some of the segments alone


@dataclass(frozen=True)
class PredictionSpeed:
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


def measure(member: Member, store: FrameStore) -> PredictionSpeed:
    """Speed of one member, freshly initialised."""
    columns = np.asarray(store.dataset.scored_classes)
    segments = segments_of(store.split("test"), store.dataset)
    windows = SegmentWindows(store, segments, member.sampler)
    ours = np.arange(len(segments))
    plain = ours[: max(PLAIN_FRAMES // member.sampler.length(store.dataset.segment_frames), 1)]
    measured = (_keras if member.framework == "keras" else _torch)(member, store, windows, columns)

    def together(entries: np.ndarray) -> np.ndarray:
        return measured.predictor(windows.at(entries, *SHIFTS)).reshape(len(SHIFTS), len(entries), -1)

    def apart(entries: np.ndarray) -> np.ndarray:
        blocks = [entries[first : first + WINDOWS] for first in range(0, len(entries), WINDOWS)]
        shift_scores = [
            [measured.plain(_drawn(windows.at(block, shift), member))[:, columns] for block in blocks]
            for shift in SHIFTS
        ]
        return np.stack([np.concatenate(scores) for scores in shift_scores])

    expected = apart(plain)
    difference = np.abs(together(plain) - expected).max()
    once, a_shift, bare = [], [], []
    for _ in range(REPEATS):
        bare.append(_seconds(measured.product))
        once.append(_seconds(lambda: together(ours)))
        a_shift.append(_seconds(lambda: apart(plain)))
    count = len(ours) * len(SHIFTS)
    seconds = min(once) / count
    rate, bare_rate = measured.multiply_adds / seconds, float(np.prod(measured.size)) / min(bare)
    return PredictionSpeed(
        member.name,
        1 / seconds,
        seconds / (min(a_shift) / (len(plain) * len(SHIFTS))),
        GOALS.get(member.name, GOAL),
        rate,
        bare_rate,
        rate / bare_rate,
        float(difference),
    )


@dataclass(frozen=True)
class Measured:
    """What predicts the scored classes of windows in one pass, and all classes of features (B, draws, D) plainly.

    `multiply_adds` are those of a window in the one pass, `size` (rows, width, output) is the matrix product with most
    of them, and `product` is one of that size in the same framework.
    """

    predictor: Predictor
    plain: Callable[[np.ndarray], np.ndarray]
    multiply_adds: float
    size: tuple[int, int, int]
    product: Callable[[], object]


def _torch(member: Member, store: FrameStore, windows: SegmentWindows, columns: np.ndarray) -> Measured:
    estimator = TorchEstimator(member, store.dataset, TorchOptions(device="cpu"))
    predictor = estimator.predictor(columns)

    @torch.inference_mode()
    def plain(drawn: np.ndarray) -> np.ndarray:
        return estimator.module.eval()(torch.from_numpy(drawn)).numpy()

    with FlopCounterMode(display=False) as counter, Largest() as largest:
        predictor(windows.at(np.arange(len(windows)), *SHIFTS))
    per_window = counter.get_total_flops() / 2 / len(windows) / len(SHIFTS)
    rows, width, output = largest.size
    x, weight = torch.randn(rows, width), torch.randn(output, width)
    return Measured(predictor, plain, per_window, largest.size, lambda: torch.nn.functional.linear(x, weight))


def _keras(member: Member, store: FrameStore, windows: SegmentWindows, columns: np.ndarray) -> Measured:
    """In Keras every class gates every other: the mixture of experts, most of the work, is needed for all classes."""
    import tensorflow as tf

    from training.fit.keras import KerasEstimator

    estimator = KerasEstimator(member, store.dataset)
    predictor = estimator.predictor(columns)
    every = windows.at(np.arange(len(windows)), *SHIFTS)
    parts = (*(estimator.model.get_layer(name) for name in ("encoder", "mixture")), estimator.model)
    dense = [layer for part in parts for layer in part.layers if type(layer).__name__ == "Dense"]
    sizes = {layer.name: layer.kernel.shape for layer in dense}
    sizes["classes_gates"] = sizes["classes_gates"][0], len(columns)
    frames_a_window = len(every.frames.values) / len(every.index)
    per_window = sum(
        width * output * (frames_a_window if name.endswith("_clusters") else 1)
        for name, (width, output) in sizes.items()
    )
    width, output = max(sizes.values(), key=np.prod)

    model = tf.function(estimator.model, reduce_retracing=True)

    def plain(drawn: np.ndarray) -> np.ndarray:
        return model([drawn, np.ones(drawn.shape[:2], np.float32)], training=False).numpy()

    x, weight = tf.random.normal((WINDOWS, width)), tf.random.normal((width, output))
    return Measured(predictor, plain, per_window, (WINDOWS, width, output), lambda: tf.matmul(x, weight))


def _drawn(windows: Windows, member: Member) -> np.ndarray:
    """Every frame as often as it is drawn (B, draws, D)."""
    if member.sampler.kind == "sequence":
        return windows.features
    pairs = zip(windows.features, windows.frame_weights.astype(int), strict=True)
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


def _seconds(work: Callable[[], object]) -> float:
    """The least time of several: a short piece of work finds a quiet moment more easily than a long one."""
    times: list[float] = []
    while len(times) < 2 or sum(times) < 0.3:
        times.append(timed(work)[1])
    return min(times)


def print_figures(figures: list[PredictionSpeed]) -> None:
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
