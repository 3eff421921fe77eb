"""The video-level prior: a segment's scores mixed with its video's, as the 1st, 2nd, 3rd and 5th place did."""

import numpy as np


def with_prior(scores: np.ndarray, videos: np.ndarray, exponent: float) -> np.ndarray:
    """Scores p_video ** exponent * p_segment ** (1 - exponent), for p_segment in `scores` (shifts, N, classes).

    `videos` (N,) numbers the video of each segment; all segments of a video must be there, one after the other. p_video
    is the mean over them, of the same class under the same shift. A score below 0 is a probability less 1 of a pair
    that is no candidate (`training.boosted`), as it is for all segments of the video; it stays below those of
    candidates.
    """
    offset = np.where(scores < 0, np.float32(-1), np.float32(0))
    probabilities = scores - offset
    firsts = np.flatnonzero(np.diff(videos, prepend=videos[:1] - 1))
    counts = np.diff(firsts, append=len(videos))
    means = np.add.reduceat(probabilities, firsts, axis=1) / counts[:, None].astype(np.float32)
    mixed = np.repeat(means, counts, axis=1) ** np.float32(exponent) * probabilities ** np.float32(1 - exponent)
    return mixed + offset
