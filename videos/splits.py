"""The one rule of splits."""

import hashlib

HOLDOUT_PERCENT = 8


def split_of(video_id: str, rated: bool, test: bool) -> str:
    """The split of a video of a dataset that has no splits of its own: 8 % of the rated videos are the holdout.

    `rated`: the video has ratings; `test`: it is in a test shard.
    """
    if test:
        return "test"
    if not rated:
        return "pretrain"
    return "holdout" if is_held_out(video_id) else "finetune"


def is_held_out(video_id: str) -> bool:
    """Whether a video is in the holdout if it is rated; the same in every release of the data."""
    return int(hashlib.sha256(video_id.encode()).hexdigest(), 16) % 100 < HOLDOUT_PERCENT
