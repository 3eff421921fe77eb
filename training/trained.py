"""A fine-tuned member as its predictions need it, and its description, from which it is built without a line-up."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from training.fit.checkpoints import Checkpoints
from training.fit.kinds import ROOT, kind_of
from training.fit.loop import GradientEstimator, Predictor
from training.fit.options import DEFAULT, TorchOptions
from training.member import Member, Schedule
from training.prior import with_prior
from training.windows.sampler import Sampler
from training.windows.segments import SegmentWindows
from videos.dataset import Dataset
from videos.store import FrameStore

Scorer = Callable[[np.ndarray], np.ndarray]  # rows of segments -> scores (shifts, rows, classes)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A fine-tuned member; `bases` are the members that it builds on, `checkpoint` is the folder of its weights."""

    member: Member
    bases: tuple[Member, ...]
    dataset: Dataset
    checkpoint: Path
    options: TorchOptions = DEFAULT

    def scorer(self, store: FrameStore, segments: pl.DataFrame) -> Scorer:
        """Scorer of `segments` (`videos.segments.segments_of`) of a store under the member's shifts, with its prior.

        A block of rows consists of whole videos.
        """
        plain, exponent = self._scorer(store, segments), self.member.prior
        if not exponent:
            return plain
        videos = segments["video_id"].rle_id().to_numpy()
        return lambda rows: with_prior(plain(rows), videos[rows], exponent)

    def _scorer(self, store: FrameStore, segments: pl.DataFrame) -> Scorer:
        if self._own_scorer is not None:
            return self._own_scorer(store, segments)
        windows, shifts = SegmentWindows(store, segments, self.member.sampler), self.member.shifts
        return lambda rows: self._predictor(windows.at(rows, *shifts)).reshape(len(shifts), len(rows), -1)

    @cached_property
    def _own_scorer(self) -> Callable[[FrameStore, pl.DataFrame], Scorer] | None:
        """That of the member's kind, if it has its own; cached, since it reads the weights."""
        scorer = kind_of(self.member).scorer
        return scorer and scorer(self)

    @cached_property
    def _predictor(self) -> Predictor:
        """With the weights of the best checkpoint, for the scored classes."""
        estimator = self.estimator(self.member)
        estimator.restore(*Checkpoints(self.checkpoint).read("best", self.member.finetuned_name))
        return estimator.predictor(np.asarray(self.dataset.scored_classes, dtype=np.int64))

    def estimator(self, member: Member) -> GradientEstimator:
        """The member, or a base of it, with initial weights."""
        return estimator_of(member, self.dataset, self.options)

    def description(self) -> str:
        """What `read_trained` builds it from, with the weights: JSON."""
        members = [_described(member) for member in (self.member, *self.bases)]
        return json.dumps({"members": members, "dataset": asdict(self.dataset)}, indent=1)


def estimator_of(member: Member, dataset: Dataset, options: TorchOptions) -> GradientEstimator:
    """A member with initial weights; ValueError if its kind does not train by gradient steps."""
    estimator = kind_of(member).estimator
    if estimator is None:
        raise ValueError(f"{member.name} does not train by gradient steps; it cannot be a base of another")
    return estimator(member, dataset, options)


def read_trained(description: Mapping[str, Any], checkpoint: Path) -> Trained:
    """The member of a parsed `Trained.description`, with the weights in `checkpoint`."""
    member, *bases = (_member(values) for values in description["members"])
    dataset = Dataset(**{**description["dataset"], "unrated_ends": tuple(description["dataset"]["unrated_ends"])})
    return Trained(member=member, bases=tuple(bases), dataset=dataset, checkpoint=checkpoint)


def _described(member: Member) -> dict[str, Any]:
    architecture = type(member.config)
    return {**asdict(member), "architecture": f"{architecture.__module__}.{architecture.__qualname__}"}


def _member(values: Mapping[str, Any]) -> Member:
    values = dict(values)
    module, _, name = values.pop("architecture").rpartition(".")
    if not module.startswith("training.models."):
        raise ValueError(f"{module}.{name} is no architecture of this project; train the member again with --force")
    architecture = getattr(import_module(f"{ROOT}{module}"), name)
    config = {key: tuple(value) if isinstance(value, list) else value for key, value in values["config"].items()}
    return Member(
        **{
            **values,
            "config": architecture(**config),
            "shifts": tuple(values["shifts"]),
            "sampler": Sampler(**values["sampler"]),
            "pretrain": values["pretrain"] and Schedule(**values["pretrain"]),
            "finetune": Schedule(**values["finetune"]),
        }
    )
