"""A generated frame store of paper size: what is in its frames is noise, since only the work on them is measured."""

from pathlib import Path

import numpy as np
import polars as pl

from videos.dataset import Dataset
from videos.sources.yt8m import CLASSES, MAX_FRAMES, MODALITIES, SEGMENT_FRAMES
from videos.store import FrameStore, open_frames
from videos.store_writing import Ingest, new_frames, new_store, write_index

SCORED = 1_000


def write_videos(folder: Path, videos: int, split: str, frames: int = MAX_FRAMES) -> FrameStore:
    """A frame store in `folder` of `videos` videos, each of `frames` frames and three labels."""
    rng = np.random.default_rng(0)
    rows = []
    with new_store(folder) as building:
        with new_frames(building / "frames" / "noise.npy", "uint8", sum(MODALITIES.values())) as file:
            for i in range(videos):
                first = file.append(rng.integers(256, size=(frames, file.width), dtype=np.uint8))
                labels = sorted(rng.choice(CLASSES, 3, replace=False).tolist())
                rows.append((f"{i:04}", split, "frames/noise.npy", first, frames, labels, f"{i:064x}"))
        names = ["video_id", "split", "file", "first_frame", "frames", "classes", "content"]
        scored = np.linspace(3, CLASSES - 1, SCORED).astype(int).tolist()
        vocabulary = [str(class_id) for class_id in range(CLASSES)]
        dataset = Dataset(
            "noise", MODALITIES, "uint8", SEGMENT_FRAMES, True, MAX_FRAMES, "roll", vocabulary, scored, ""
        )
        judgments = pl.DataFrame(schema={"class_id": pl.UInt16, "segment_id": pl.String, "relevance": pl.Int16})
        write_index(building, dataset, pl.DataFrame(rows, names, orient="row"), judgments, Ingest({"source": "noise"}))
    return open_frames(folder)
