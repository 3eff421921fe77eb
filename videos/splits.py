"""The one rule of splits."""

import hashlib

HOLDOUT_PERCENT = 8


def split_of(video_id: str, rated: bool, test: bool) -> str:
    """The one rule of splits, for data that brings no splits of its own.

    `rated` says whether the video has ratings, `test` whether it stands in a test shard. The id's hash decides the
    holdout, so that a video is held out in every release of the data that contains it.
    """
    if test:
        return "test"
    if int(hashlib.sha256(video_id.encode()).hexdigest(), 16) % 100 < HOLDOUT_PERCENT:
        return "holdout"
    return "finetune" if rated else "pretrain"
