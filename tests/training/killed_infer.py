"""What the process of `test_ranking.py` does: infer on the store in its argument, and be killed after two blocks."""

import os
import signal
import sys
from pathlib import Path

import numpy as np

from tests.training.test_ranking import TOY
from tests.training.toy_kind import ToyEstimator
from training import members, ranking, stages
from training.fit.kinds import KINDS
from training.fit.loop import Predictor
from training.job import Job
from training.windows.segments import Windows
from videos.store import open_frames

BLOCKS = 2

if __name__ == "__main__":
    KINDS["toy"] = "tests.training.toy_kind"
    members.LINE_UPS["toys"] = lambda: (TOY,)
    ranking.SEGMENTS, ranking.KEEP_SECONDS, ranking.KEEP_SHARE = 3, 0.0, np.inf
    plain, scored = ToyEstimator.predictor, iter(range(BLOCKS + 1))

    def predictor(self: ToyEstimator, columns: np.ndarray) -> Predictor:
        predict = plain(self, columns)

        def dying(windows: Windows) -> np.ndarray:
            if next(scored) == BLOCKS:
                os.kill(os.getpid(), signal.SIGKILL)
            return predict(windows)

        return dying

    ToyEstimator.predictor = predictor
    stages.infer(Job(lineup="toys", member=TOY, store=open_frames(Path(sys.argv[1]))), "holdout")
