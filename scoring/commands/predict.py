"""The command predict: a submission from shards with a registered ensemble."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


def predict(
    ensemble: Annotated[Positional[str], arg(metavar="ENSEMBLE", help_behavior_hint="")],
    *,
    shards: Annotated[tuple[str, ...], arg(metavar="PATTERN...", help_behavior_hint="(required)")],
    out: Annotated[Path, arg(metavar="DIR", help_behavior_hint="(required)")],
) -> None:
    """Rank the segments of all videos in YouTube-8M shards with a registered ensemble.

    Each member scores every segment under each of its shifts; the shifts are merged and the members fused, as the
    stages of the line-up do. Loading the model runs the code that was logged with it.

    Args:
        ensemble: Name of the registered model, such as synthetic.demo.ensemble: its version with the alias `best`; or
            NAME/VERSION, or NAME@ALIAS.
        shards: Patterns of the shards, frame level, such as 'yt8m/*/test*.tfrecord'. Their frames are copied into a
            temporary folder next to DIR.
        out: New folder of the submission: the coded lists and submission.csv (Kaggle's format).
    """
    from scoring.tracked.predicting import predict_shards

    print(f"ranked lists: {predict_shards(ensemble, shards, out)}")
