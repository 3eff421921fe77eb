"""What a process of `test_paper_size.py` does: two steps of a member and one block of windows, and what it took.

The first step is on a few rows: it allocates the optimiser's moments, and the second step, on a whole batch, has them
beside its activations and gradients, which is the peak of training.
Called with the member's name and the folder of a frame store; prints a JSON object.
"""

import json
import resource
import sys
from pathlib import Path

import numpy as np

from training.fit.loop import GradientEstimator
from training.fit.options import TorchOptions
from training.job import Job
from training.members import member_of
from training.windows.examples import VideoExamples
from training.windows.segments import SegmentWindows
from videos.segments import segments_of
from videos.store import open_frames

SEGMENTS = 60  # of a video of 300 frames
SHIFTS = (-2, -1, 0, 1)  # as many as the member with most of them
FEW = 8


def main(name: str, folder: Path) -> None:
    store, member = open_frames(folder), member_of("paper", name)
    estimator: GradientEstimator = Job(
        lineup="paper", member=member, store=store, options=TorchOptions(device="cpu")
    ).estimator()
    assert member.pretrain is not None
    videos, losses = VideoExamples(store, member.sampler), []
    for step, count in enumerate((FEW, member.pretrain.batch)):
        batch = videos.batch(np.arange(count) % len(videos), np.random.default_rng(step))
        losses.append(float(estimator.train_step(batch, member.pretrain.learning_rate)))
    windows = SegmentWindows(store, segments_of(store.split("finetune"), store.dataset), member.sampler)
    predictor = estimator.predictor(np.asarray(store.dataset.scored_classes))
    scores = predictor(windows.at(np.arange(SEGMENTS), *SHIFTS))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"losses": losses, "scores": scores.shape, "highest": float(scores.max()), "peak_gib": peak}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
