"""A frame store small enough to fit members on in a second, and the line-ups' members cut down to it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from training.member import Member, Schedule
from training.members import LINE_UPS, line_up
from training.models.architecture import Architecture
from training.models.context_aware import ContextAwareConfig
from training.models.frame_mean import FrameMeanConfig
from training.models.frame_wise import FrameWiseConfig
from training.models.gated_netvlad import GatedNetVladConfig
from training.models.mix_nextvlad import MixNeXtVladConfig
from videos.dataset import Dataset
from videos.segments import segments_of
from videos.splits import is_held_out, split_of
from videos.store import FrameStore, open_frames
from videos.store_writing import Ingest, new_frames, new_store, write_index

WIDTHS = {"rgb": 24, "audio": 24}  # 12 heads and 8 divide 48, 8 heads divide each
CLASSES, SCORED = 6, [0, 2, 3, 5]
# Layers whose width does not follow that of the frames: at the paper's, a step takes ten times as long.
LAYERS: Mapping[type[Architecture], Mapping[str, object]] = {
    ContextAwareConfig: {"hidden": 96, "intermediate": 192},
    FrameMeanConfig: {"hidden": (96, 64)},
    FrameWiseConfig: {"hidden": 96, "intermediate": 192},
    GatedNetVladConfig: {"hidden": 64, "output": 128},
    MixNeXtVladConfig: {"clusters": 16, "hidden": 128},
}


def write_tiny_store(folder: Path, videos: int = 60, seed: int = 0, widths: Mapping[str, int] = WIDTHS) -> None:
    """Videos of 10 to 20 frames; each class has a signature and is there for half of the videos that it labels."""
    rng = np.random.default_rng(seed)
    width = sum(widths.values())
    signatures = rng.normal(size=(CLASSES, width))
    rows, ratings = [], []
    with new_store(folder) as building:
        with new_frames(building / "frames" / "tiny.npy", "uint8", width) as frames:
            for i in range(videos):
                video_id, count = f"v{i:03}", int(rng.integers(10, 21))
                labels = sorted(rng.choice(CLASSES, 2, replace=False).tolist())
                values = rng.normal(size=(count, width)) * 0.4
                first_half = {label: bool(rng.integers(2)) for label in labels}
                for label in labels:
                    there = slice(0, count // 2) if first_half[label] else slice(count // 2, count)
                    values[there] += signatures[label]
                first = frames.append(np.clip((values + 2) * 64, 0, 255).astype(np.uint8))
                split = "test" if i >= videos - 8 else split_of(video_id, i % 2 == 0 or is_held_out(video_id), False)
                rows.append((video_id, split, "frames/tiny.npy", first, count, labels, f"{i:064x}"))
                if split in ("finetune", "holdout"):
                    for start in range(0, count - 4, 5):
                        ratings += [
                            (label, f"{video_id}:{start}", int((start + 2 < count // 2) == first_half[label]))
                            for label in labels
                            if label in SCORED
                        ]
        names = ["video_id", "split", "file", "first_frame", "frames", "classes", "content"]
        judgments = pl.DataFrame(ratings, ["class_id", "segment_id", "relevance"], orient="row")
        dataset = Dataset(
            "tiny", dict(widths), "uint8", 5, True, 300, "roll", [f"class {c}" for c in range(CLASSES)], SCORED, ""
        )
        write_index(building, dataset, pl.DataFrame(rows, names, orient="row"), judgments, Ingest({"source": "tiny"}))


@pytest.fixture(scope="session", autouse=True)
def _submissions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Line-ups write their submissions into a temporary folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.line_up.SUBMISSIONS", tmp_path_factory.mktemp("submissions"))
        yield


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores") / "tiny"
    write_tiny_store(folder)
    return folder


@pytest.fixture
def tiny(tiny_folder: Path) -> FrameStore:
    store = open_frames(tiny_folder)
    assert set(store.videos["split"]) == {"pretrain", "finetune", "holdout", "test"}
    assert len(segments_of(store.split("holdout"), store.dataset)) > 8
    return store


def briefly(member: Member, pretrain: int = 12, finetune: int = 6) -> Member:
    """The member with schedules of seconds."""
    return replace(
        member,
        pretrain=member.pretrain and Schedule(pretrain, pretrain // 2, batch=16, learning_rate=1e-3),
        finetune=Schedule(finetune, max(finetune // 2, 1), batch=16, learning_rate=1e-3),
    )


def narrowed(member: Member) -> Member:
    """The member with layers of the width of the tiny store's frames."""
    return replace(member, config=replace(member.config, **LAYERS.get(type(member.config), {})))


def gradient_members() -> list[Member]:
    """Every gradient member of the line-up beyond, by name; other line-ups have the same architectures in other sizes.

    Those that no other member shares are taken from where they are, so that a new architecture is tested everywhere.
    """
    members = {member.name: member for member in line_up("beyond") if member.framework != "lightgbm"}
    architectures = {type(member.config) for member in members.values()}
    for name in LINE_UPS:
        for member in line_up(name):
            if member.framework != "lightgbm" and type(member.config) not in architectures:
                members[member.name] = member
    return [briefly(narrowed(members[name])) for name in sorted(members)]
