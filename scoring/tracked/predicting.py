"""Rank the segments of videos with a registered ensemble."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from scoring.lists.opening import open_submission
from scoring.lists.ranked import read_blocks
from scoring.lists.writing import write_blocks
from tracking.models import load_code_model
from tracking.registry import address
from videos.ingest import ingest_yt8m


def predict_shards(ensemble: str, shards: Sequence[str], out: Path) -> Path:
    """Rank the segments of all videos in YouTube-8M's records with a registered ensemble; returns the Kaggle CSV.

    `ensemble` is the name of a registered model (its version with the alias `best`), or `NAME/VERSION` or
    `NAME@ALIAS`. The new folder `out` contains the coded lists and `submission.csv`. ValueError if there is no such
    model or `out` exists.
    """
    if out.exists():
        raise ValueError(f"{out} exists already; choose a new folder")
    model = load_code_model(address(ensemble))
    out.parent.mkdir(parents=True, exist_ok=True)
    # The frames are read in the order of the segments' ids, which shards do not have.
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        frames, lists = Path(folder) / "frames", Path(folder) / out.name
        ingest_yt8m(tuple(shards), frames, modalities=model.dataset.modalities)
        model.rank(frames, lists)
        write_blocks(read_blocks(open_submission(lists)), None, lists / "submission.csv")
        lists.rename(out)
    return out / "submission.csv"
