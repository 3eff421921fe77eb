"""The kinds of members, one per framework. A new one is a module with a `KIND` and an entry here.

A kind's module is imported when the first member of that kind is used.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from tracking.models import Framework
from tracking.runs import Record
from training.fit.loop import GradientEstimator
from training.fit.options import TorchOptions
from training.member import Member, Schedule
from videos.dataset import Dataset

KINDS = {
    "torch": "training.fit.torch",
    "keras": "training.fit.keras",
    "lightgbm": "training.boosted.kind",
}


# Empty; in the copy of this code that a logged model has, the package that contains it (`tracking.code_models`).
ROOT = __name__.partition("training")[0]


@dataclass(frozen=True)
class Kind:
    """A framework's part in training.

    A kind that trains by gradient steps has an `estimator`, which the loop fits. Any other kind has `finetune` and
    `scorer`, its own versions of these parts of the stages finetune and infer.

    Attributes:
        title: Name of the framework in messages.
        format: Format in which its models are logged (`tracking.models`).
        parameters: (member, modality widths, classes, frames per window) -> number of trainable parameters, or None
            for trees. Allocates nothing. ValueError if the data does not allow this member.
        estimator: (member, dataset, options) -> the freshly initialised member.
        finetune: (`training.job.Job`) -> the finished finetune run.
        scorer: `training.trained.Trained` -> a function (frame store, segments) -> a `training.trained.Scorer`.
        device: (options) -> the name of the device on which it trains; None: it has no use for a GPU.
        shares_work: Whether several processes can train one member together (`training.fit.processes`).
        learns_unrated: Whether its estimator learns from `Batch.unrated` (`Schedule.consistency`).
        check: (options, the stage's schedule if it has one) -> ValueError if they do not fit each other or the machine.
    """

    title: str
    format: Framework
    parameters: Callable[[Member, Mapping[str, int], int, int], int | None]
    estimator: Callable[[Member, Dataset, TorchOptions], GradientEstimator] | None = None
    finetune: Callable[[Any], Record] | None = None
    scorer: Callable[[Any], Callable[[Any, Any], Callable[[np.ndarray], np.ndarray]]] | None = None
    device: Callable[[TorchOptions], str] | None = None
    shares_work: bool = False
    learns_unrated: bool = False
    check: Callable[[TorchOptions, Schedule | None], None] = lambda options, schedule: None


def kind_of(member: Member) -> Kind:
    """The kind of a member; ValueError with the kinds there are."""
    if member.framework not in KINDS:
        raise ValueError(f"{member.name} is of the kind {member.framework!r}; the kinds are {', '.join(KINDS)}")
    return import_module(f"{ROOT}{KINDS[member.framework]}").KIND


def parameters_of(member: Member, *, modalities: Mapping[str, int], classes: int, segment_frames: int) -> int | None:
    """The number of trainable parameters on data of this size, None for trees; ValueError as in `Kind`."""
    return kind_of(member).parameters(member, modalities, classes, member.sampler.length(segment_frames))
