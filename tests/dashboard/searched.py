"""A line-up whose lists were really merged, searched and fused: the store as the scoring stages leave it.

`python -m tests.dashboard.searched` fills the store of MLFLOW_TRACKING_URI with nine members, to look at.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from scoring import paper
from scoring.lists.ranking import rank_scores
from scoring.lists.writing import write_submission
from scoring.tracked import stages
from scoring.weights.settings import SearchSettings
from tests.dashboard.seeding import member_stage
from tracking import metrics
from videos.judgments import JUDGMENTS, Judgments

EXPERIMENT, LINEUP = "made", "three"
MEMBERS: tuple[str, ...] = ("bert-l2h12-mean", "gated-netvlad", "mix-nextvlad-60")
PAPER = tuple(paper.MEMBERS)
SHIFTS = (-1, 0, 1)


def seed_searched(
    members: Sequence[str] = MEMBERS,
    *,
    experiment: str = EXPERIMENT,
    lineup: str = LINEUP,
    classes: int = 6,
    videos: int = 30,
    judged: int = 16,
    trials: int = 7,
    splits: Sequence[str] = ("holdout", "test"),
) -> None:
    """Infer runs of every member under three shifts, then merge, optimize and fuse, by the code that logs them.

    `judged` is the number of judged segments per class, `trials` that of the search: up to 7 need no Ax.
    """
    with tempfile.TemporaryDirectory() as folder:
        for split in splits:
            pairs = infer(members, Path(folder), split, experiment, lineup, classes=classes, videos=videos)
            if split == "holdout":
                judgments = Judgments(pairs.group_by("class_id", maintain_order=True).head(judged))
    stages.optimize_members(
        experiment,
        lineup,
        members=members,
        judgments=judgments,
        search=SearchSettings(trials=trials, polish=3 * trials),
    )
    for split in splits:
        chosen = judgments if split == "holdout" else None
        stages.fuse_members(experiment, lineup, split=split, members=members, judgments=chosen)


def infer(
    members: Sequence[str], folder: Path, split: str, experiment: str, lineup: str, *, classes: int, videos: int
) -> pl.DataFrame:
    """Log the predictions of every member; returns judgments of every pair, in a random order.

    A class occurs in one video of four, for a moment of two segments; members see the moment, and the video around it.
    """
    rng = np.random.default_rng(len(split))
    starts = range(0, 50, 5)
    ids = [f"{split[0]}{video:04}:{start}" for video in range(videos) for start in starts]
    segments = pl.Series("segment_id", ids).sort()
    video, start = (np.array([part.split(":")[i] for part in segments]) for i in (0, 1))
    _, video_rows = np.unique(video, return_inverse=True)
    moment = start.astype(int) // 5
    shows = rng.random((videos, classes)) < 0.25
    shows[0] = True  # every class has a positive
    at = rng.integers(0, len(starts) - 1, (videos, classes))
    here = moment[:, None] - at[video_rows]
    truth = shows[video_rows] & (here >= 0) & (here <= 1)
    near = shows[video_rows] & ((here == -1) | (here == 2))
    for number, member in enumerate(members):
        strength = 1.6 - 0.8 * number / len(members)
        with member_stage(member, "infer", experiment, lineup, split).open() as opened:
            place = folder / f"{member}-{split}" / "predictions"
            place.mkdir(parents=True)
            own = rng.normal(size=truth.shape)
            scores = strength * (truth + 0.5 * near + 0.6 * shows[video_rows]) + 1.2 * own
            for shift in SHIFTS:
                noisy = (scores + 0.4 * rng.normal(size=truth.shape)).astype(np.float32)
                write_submission(rank_scores(noisy, range(classes), segments), place.with_name("one"))
                (place.with_name("one") / "lists.parquet").rename(place / f"shift{shift}.parquet")
                (place.with_name("one") / "segments.parquet").rename(place / "segments.parquet")
            opened.run.artifact(place, "predictions")
            if split == "holdout":
                values = {metrics.map_of(metrics.shift(shift)): 0.6 + 0.01 * shift for shift in SHIFTS}
                opened.headline(values)
    pairs = [
        (class_id, segment, int(truth[row, class_id]))
        for class_id in range(classes)
        for row in rng.permutation(len(segments))
        for segment in [segments[int(row)]]
    ]
    return pl.DataFrame(pairs, JUDGMENTS, orient="row").sort(
        "class_id", (pl.col("relevance") == 0) & (pl.int_range(pl.len()).over("class_id") % 3 != 0), maintain_order=True
    )


if __name__ == "__main__":
    seed_searched(PAPER, experiment="yt8m", lineup="paper", classes=40, videos=250, judged=18, trials=int(sys.argv[1]))
    seed_searched(experiment="yt8m", lineup="three", classes=40, videos=250, judged=18, splits=["holdout"])
