"""The flags that several commands share."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, UseAppendAction, arg

from scoring.fusion.fusion import MEMBER_K, shares_of
from scoring.fusion.workers import Workers
from scoring.lists.opening import Format
from scoring.lists.ranked import RankedLists
from scoring.weights.settings import SearchSettings
from scoring.weights.weights_json import Weights, read_weights
from terminal.cli import counted
from videos.judgments import Judgments, Unit

log = logging.getLogger(__name__)

PROGRAM = "python -m scoring"

Split = Literal["holdout", "test"]
OneFile = Annotated[Path, arg(metavar="FILE")]
OutFlag = Annotated[Path, arg(metavar="FILE|-")]
TagFlag = Annotated[str, arg(metavar="WORD")]
OneSubmission = Annotated[Positional[Path], arg(metavar="SUBMISSION", help_behavior_hint="")]
Submissions = Annotated[Positional[tuple[Path, ...]], arg(metavar="SUBMISSION...", help_behavior_hint="")]
# The help text describes the default; tyro's hint would only be `None`.
FileFlag = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")]
FormatFlag = Annotated[Format | None, arg(metavar="trec", help_behavior_hint="")]
WeightsFlag = Annotated[str | None, arg(metavar="W,W,...|NAME=W,...|FILE", help_behavior_hint="")]
NamedWeightsFlag = Annotated[str | None, arg(metavar="NAME=W,...|FILE", help_behavior_hint="")]
NumberFlag = Annotated[float | None, arg(metavar="K", help_behavior_hint="")]
CutoffFlag = Annotated[int, arg(aliases=["--k"])]
UnitFlag = Annotated[Unit | None, arg(metavar="video|class", help_behavior_hint="")]
Name = Annotated[str, arg(metavar="NAME")]


@dataclass(frozen=True, kw_only=True)
class Runs:
    """The tracked runs of a line-up."""

    experiment: Name
    """Experiment of the runs: the dataset's name."""
    lineup: Name
    """Line-up that the members belong to."""
    member: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME")] = ()
    """A member; may be given several times. Default: all members that have predicted the split."""
    force: bool = False
    """Repeat the stage even if it has finished."""

    def members(self, split: str) -> Sequence[str]:
        """The members that were named, or all that have predicted the split."""
        from scoring.tracked.stages import predicted_members

        return self.member or predicted_members(self.experiment, self.lineup, split=split)


# The fields of these are flags without a prefix.
RunsFlags = OmitArgPrefixes[Runs]
WorkersFlags = OmitArgPrefixes[Workers]
SearchFlags = OmitArgPrefixes[SearchSettings]


def weights_of(flag: str, *, members: Sequence[str], has_order: bool) -> Weights:
    """The weights of `--weights`: a weights.json, numbers with names, or numbers in the order of the members.

    ValueError for numbers without names if the user did not type the members in an order (`has_order` is false).
    """
    if flag.endswith(".json") or Path(flag).is_file():
        weights = read_weights(Path(flag))
        try:
            shares_of(weights.weights, members)
        except ValueError as error:
            raise ValueError(f"{flag}: {error}") from error
        return weights
    parts = [part.rpartition("=") for part in flag.split(",")]
    try:
        numbers = [float(number) for _, _, number in parts]
    except ValueError as error:
        raise ValueError(
            f"--weights {flag} is neither a .json file nor numbers separated by commas; write W,W,... or NAME=W,..."
        ) from error
    names = [name for name, equals, _ in parts if equals]
    if not names and not has_order:
        example = ",".join(f"{member}=W" for member in members)
        raise ValueError(f"--weights {flag} does not say which member each number belongs to; write {example}")
    if not names and len(numbers) != len(members):
        raise ValueError(f"--weights has {len(numbers)} numbers for {len(members)} submissions; give one for each")
    if names and (len(names) != len(numbers) or len(set(names)) != len(names)):
        raise ValueError(f"--weights {flag} names a member twice or has a number without a name; write NAME=W for each")
    return Weights(MEMBER_K, dict(zip(names or members, numbers, strict=True)))


def judgments_of(given: Judgments, *, level: int = 1, unit: Unit | None = None) -> Judgments:
    """The judgments with relevances of at least `level` as positive, and this unit of resampling."""
    if level < 1:
        raise ValueError(f"--relevance-level is {level}; it is at least 1")
    graded = given if level == 1 else given.at_level(level)
    return graded if unit is None else replace(graded, given_unit=unit)


def check_loggable(names: Iterable[str]) -> None:
    """ValueError if a member cannot be part of the name of a metric in MLflow."""
    for name in names:
        if not re.fullmatch(r"[\w\-. :/]+", name):
            raise ValueError(
                f"--log: MLflow refuses the name {name}; rename the file, with letters, digits, blanks and _ - . : only"
            )


def check_cutoff(cutoff: int) -> None:
    """ValueError if the cutoff is below 1."""
    if cutoff < 1:
        raise ValueError(f"--cutoff is {cutoff}; it must be at least 1")


def warn_of_missing_classes(sources: Mapping[str, RankedLists]) -> None:
    """Warn of submissions that lack classes of others."""
    classes = set().union(*(source.classes for source in sources.values()))
    for name, source in sources.items():
        if missing := len(classes.difference(source.classes)):
            log.warning("%s lacks %s that others have; it has no vote there", name, counted(missing, "class"))
