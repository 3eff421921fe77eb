"""What a process of `test_paper_size.py` does: two steps of a member and one block of windows, and what it took.

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


def main(name: str, folder: Path) -> None:
    store, member = open_frames(folder), member_of("paper", name)
    estimator: GradientEstimator = Job(
        lineup="paper", member=member, store=store, options=TorchOptions(device="cpu")
    ).estimator()
    assert member.pretrain is not None
    videos, rows = VideoExamples(store, member.sampler), np.arange(member.pretrain.batch)
    losses = []
    for step in range(2):
        batch = videos.batch(rows % len(videos), np.random.default_rng(step))
        losses.append(float(estimator.train_step(batch, member.pretrain.learning_rate)))
    windows = SegmentWindows(store, segments_of(store.split("finetune"), store.dataset), member.sampler)
    predictor = estimator.predictor(np.asarray(store.dataset.scored_classes))
    scores = predictor(windows.at(np.arange(SEGMENTS), *member.shifts))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"losses": losses, "scores": scores.shape, "highest": float(scores.max()), "peak_gib": peak}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
