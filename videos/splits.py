"""The one rule of splits."""

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


def is_held_out(video_id: str, percent: int = HOLDOUT_PERCENT) -> bool:
    """Whether a video is in the holdout if it is rated; the same in every release of the data."""
    return int(hashlib.sha256(video_id.encode()).hexdigest(), 16) % 100 < percent
