"""Variation of rated segments' windows in fine-tuning, with the label kept: one of the paper's future directions.

A rating says that something is visible in a segment; it often is in the frames around it too, and more windows per
rating are a regulariser. Shapes: B segments, T frames of a segment.
"""

import numpy as np

FURTHEST = 2  # frames by which a window is shifted at most, as in the paper's predictions


def vary(starts: np.ndarray, length: int, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The rows (B, T) of the windows of segments that begin at `starts` (B,), and where their surroundings begin (B,).

    Each window is varied with the probability `share`, in one of three ways with equal probability. Its rows may then
    be outside the video.

    - Shifted by 1 to FURTHEST frames to either side, with its surroundings.
    - Diluted: every second frame of a span of 2 T - 1 around the segment.
    - Enlarged: T frames in order, sampled from a span of 2 T around the segment.
    """
    count, offsets = len(starts), np.arange(length)
    is_varied, way = rng.random(count) < share, rng.integers(3, size=count)
    shift = random_shifts(count, rng)
    odd = rng.integers(2, size=(count, 1))  # the odd frame around a segment is on either side
    chosen = np.sort(rng.random((count, 2 * length)).argsort(axis=1)[:, :length], axis=1)
    ways = (
        offsets + shift[:, None],
        2 * offsets - (length - 1 + odd) // 2,
        chosen - (length + odd) // 2,
    )
    rows = starts[:, None] + np.where(is_varied[:, None], np.choose(way[:, None], ways), offsets)
    return rows, starts + np.where(is_varied & (way == 0), shift, 0)


def random_shifts(count: int, rng: np.random.Generator) -> np.ndarray:
    """Shifts (count,) by 1 to FURTHEST frames to either side."""
    return rng.integers(1, FURTHEST + 1, size=count) * rng.choice((-1, 1), size=count)
