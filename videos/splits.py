"""The rules that divide videos: splits, shares, folds."""

import hashlib

HOLDOUT_PERCENT = 8


def split_of(video_id: str, rated: bool, test: bool, percent: int = HOLDOUT_PERCENT) -> str:
    """The split of a video of a dataset that has no splits of its own: `percent` % of the rated videos are the holdout.

    `rated`: the video has ratings; `test`: it is in a test shard.
    """
    if test:
        return "test"
    if not rated:
        return "pretrain"
    return "holdout" if is_held_out(video_id, percent) else "finetune"


def is_in_share(video_id: str, share: float) -> bool:
    """Whether a video is in a share (0 to 1, in steps of 0.0001) of all; the videos of a smaller share are in a larger.

    Independent of `is_held_out`, which reads other digits of the same hash.
    """
    return _number(video_id) // 100 % 10_000 < share * 10_000


def fold_of(video_id: str, folds: int) -> int:
    """The fold of a rated video, of its hash divided by 100, since the remainder decides the holdout."""
    return _number(video_id) // 100 % folds


def is_held_out(video_id: str, percent: int = HOLDOUT_PERCENT) -> bool:
    """Whether a video is in the holdout if it is rated; the same in every release of the data."""
    return _number(video_id) % 100 < percent


def _number(video_id: str) -> int:
    return int(hashlib.sha256(video_id.encode()).hexdigest(), 16)
