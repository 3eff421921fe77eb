"""Each of the nine at full size: 1024 + 128 features, 3,862 classes, batches of 128, within 16 GiB on a CPU.

The largest member of each architecture is run; the others have no more parameters or frames than it.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.training.at_paper_size import SEGMENTS, SHIFTS
from tests.videos.records import frame_level, write_shard
from training.listing import PAPER as SIZE
from training.listing import parameters
from training.member import Member
from training.members import PAPER
from videos.ingest import ingest_yt8m
from videos.sources.yt8m import CLASSES, MODALITIES
from videos.store import FrameStore, open_frames

ROOT = Path(__file__).resolve().parents[2]
GIB = 16
SCORED = 1_000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    """Two shards of rated videos of full length, read as YouTube-8M's are."""
    folder = tmp_path_factory.mktemp("paper")
    rng = np.random.default_rng(0)
    scored = np.linspace(3, CLASSES - 1, SCORED).astype(int).tolist()
    (folder / "segment_classes.csv").write_text("Index\n" + "\n".join(map(str, scored)) + "\n")
    for shard in range(2):
        records = []
        for video in range(12):
            labels = sorted(rng.choice(CLASSES, 3, replace=False).tolist())
            ratings = [(int(start) * 5, int(rng.choice(scored)), float(rng.integers(2))) for start in range(10, 15)]
            records.append(frame_level(f"{shard}{video:02}x", 300, labels, ratings, MODALITIES))
        write_shard(folder / f"shard{shard}.tfrecord", records)
    out = folder / "store"
    ingest_yt8m((str(folder / "*.tfrecord"),), out, segment_classes=folder / "segment_classes.csv", jobs=1)
    return open_frames(out)


LARGEST = ("gated-netvlad", "bert-l3h12-concat", "bert-cross-l2h8-attention", "mix-nextvlad-300")


def test_no_other_member_is_larger_than_that_of_its_architecture() -> None:
    run = {type(member.config): member for member in PAPER if member.name in LARGEST}
    for member in PAPER:
        largest = run[type(member.config)]
        assert (parameters(member, SIZE) or 0) <= (parameters(largest, SIZE) or 0), member.name
        frames, most = (each.sampler.length(SIZE.segment_frames) for each in (member, largest))
        assert frames <= most, member.name
        assert len(member.shifts) <= len(SHIFTS), member.name
        assert member.pretrain == largest.pretrain


@pytest.mark.slow
@pytest.mark.parametrize("member", [member for member in PAPER if member.name in LARGEST], ids=lambda each: each.name)
def test_two_steps_and_a_block_of_windows_fit_into_16_gib(store: FrameStore, member: Member) -> None:
    assert (store.dataset.width, store.dataset.classes) == (1152, CLASSES)
    command = [sys.executable, "-m", "tests.training.at_paper_size", member.name, str(store.folder)]
    # All cores: the suite's one thread a library is for tests of milliseconds.
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    printed = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout
    found = json.loads(printed)
    assert all(math.isfinite(loss) for loss in found["losses"])
    assert found["losses"][1] < found["losses"][0]
    assert found["scores"] == [SEGMENTS * len(SHIFTS), SCORED]
    assert 0 <= found["highest"] <= 1
    assert found["peak_gib"] < GIB
    print(f"{member.name}: {found['peak_gib']:.1f} GiB")
