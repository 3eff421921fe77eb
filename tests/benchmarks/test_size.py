"""A store of many videos is opened and sampled in memory that is a few hundred bytes per video."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import loading

ROOT = Path(__file__).resolve().parents[2]
VIDEOS = 300_000
CODE = """
import resource, sys
from pathlib import Path
import numpy as np
from training.members import member_of
from training.windows.examples import VideoExamples
from videos.segments import segments_of
from videos.store import open_frames

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

before = peak()
store = open_frames(Path(sys.argv[1]))
examples = VideoExamples(store, member_of("paper", "bert-l2h12-mean").sampler)
examples.batch(np.arange(0, len(examples), len(examples) // 8), np.random.default_rng(0))
assert len(segments_of(store.split("holdout"), store.dataset)) > 1000
print(peak() - before)
"""


@pytest.mark.slow
def test_memory_per_video_is_bounded(tmp_path: Path) -> None:
    store = loading.write_store(tmp_path / "store", VIDEOS, 8, is_sparse=True, rated=VIDEOS * 47 // 5000)
    ids = store.videos["video_id"]
    assert (ids.n_unique(), ids.str.len_bytes().unique().to_list()) == (VIDEOS, [4])
    assert store.videos["split"].value_counts(sort=True)["split"].to_list() == ["pretrain", "finetune", "holdout"]
    command = [sys.executable, "-c", CODE, str(tmp_path / "store")]
    taken = int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert taken < 400 * VIDEOS  # 2 GB of five million
