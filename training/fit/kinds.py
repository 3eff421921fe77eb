"""The kinds of members: one entry per framework, with the module that defines it.

Another framework is one folder (or file) with a `KIND`, and one entry here. It is imported when a member of it is met.
"""

from collections.abc import Callable, Mapping, Sequence
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


@dataclass(frozen=True)
class Kind:
    """What training needs to know of a framework.

    A kind that learns by gradient steps gives `estimator`, and the loop does the rest. Any other gives `finetune` and
    `scorer`, the parts of the stages finetune and infer that it does itself.

    Attributes:
        title: Its name in sentences.
        format: How its models are logged, one of `tracking.models`' formats.
        parameters: The number of trainable parameters of a member on modalities of these widths, classes, and windows
            of these many frames, without allocating them; None if it has none. ValueError if such data allows no such
            member.
        estimator: A freshly initialised member on a dataset.
        finetune: (`training.job.Job`) -> the finished run of the stage finetune.
        scorer: (`training.job.Job`, the finetune run, segments) -> a function from rows of `segments` to scores
            (shifts, rows, classes).
        shares_work: Whether several processes can train one member together (`training.fit.processes`).
        check: Raises ValueError if the options suit none of these schedules or this machine.
    """

    title: str
    format: Framework
    parameters: Callable[[Member, Mapping[str, int], int, int], int | None]
    estimator: Callable[[Member, Dataset, TorchOptions], GradientEstimator] | None = None
    finetune: Callable[[Any], Record] | None = None
    scorer: Callable[[Any, Record, Any], Callable[[np.ndarray], np.ndarray]] | None = None
    shares_work: bool = False
    check: Callable[[TorchOptions, Sequence[Schedule]], None] = lambda options, schedules: None


def kind_of(member: Member) -> Kind:
    """The kind of a member; ValueError with the kinds there are."""
    if member.framework not in KINDS:
        raise ValueError(f"{member.name} is of the kind {member.framework!r}; the kinds are {', '.join(KINDS)}")
    return import_module(KINDS[member.framework]).KIND
