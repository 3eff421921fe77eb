"""The flags that several commands share, and what is said where one of them cannot be given."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, UseAppendAction, arg

from scoring.fusion.fusion import MEMBER_K
from scoring.fusion.workers import Workers
from scoring.lists.opening import Format
from scoring.lists.ranked import RankedLists
from scoring.weights.weights_json import Weights, read_weights
from terminal.cli import counted

logger = logging.getLogger(__name__)

Split = Literal["holdout", "test"]
OneFile = Annotated[Path, arg(metavar="FILE")]
OneSubmission = Annotated[Positional[Path], arg(metavar="SUBMISSION", help_behavior_hint="")]
Submissions = Annotated[Positional[tuple[Path, ...]], arg(metavar="SUBMISSION...", help_behavior_hint="")]
# A hint of `None` tells nothing: the help says what happens without the flag.
FileFlag = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")]
FormatFlag = Annotated[Format | None, arg(metavar="trec", help_behavior_hint="")]
WeightsFlag = Annotated[str | None, arg(metavar="W,W,...|FILE", help_behavior_hint="")]
NumberFlag = Annotated[float | None, arg(metavar="K", help_behavior_hint="")]
Name = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")]


@dataclass(frozen=True)
class Runs:
    """Instead of files: the tracked runs of a line-up."""

    experiment: Name = None
    """Experiment that holds the runs: the dataset's name."""
    lineup: Name = None
    """Line-up whose members are meant."""
    member: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME")] = ()
    """A member; may be given several times. Default: all of the line-up that have predicted the split."""
    force: bool = False
    """Do it again even if it has been done."""

    def of(self, split: str) -> tuple[str, str, Sequence[str]]:
        """Experiment, line-up and members."""
        from scoring.tracked import stages

        if self.experiment is None or self.lineup is None:
            raise ValueError("give submissions, or --experiment and --lineup to take those of tracked runs")
        members = self.member or stages.predicted_members(self.experiment, self.lineup, split)
        return self.experiment, self.lineup, members

    def refuse_beside_files(self, **flags: object) -> None:
        """ValueError where flags of tracked runs, these or `flags`, are given beside submissions."""
        own = {"experiment": self.experiment, "lineup": self.lineup, "member": self.member, "force": self.force}
        refuse("it is for tracked runs, not for submissions in files", **own, **flags)


ByRuns = OmitArgPrefixes[Runs]
NO_RUNS = Runs()
ByWorkers = OmitArgPrefixes[Workers]


def refuse(reason: str, **flags: object) -> None:
    """ValueError, with the reason, for the first of these flags that was given (is true)."""
    for name, given in flags.items():
        if given:
            raise ValueError(f"--{name.replace('_', '-')} cannot be given here: {reason}; leave it out")


def weights_of(given: str, members: Sequence[str]) -> Weights:
    """The weights of `--weights`: a weights.json, or numbers in the order of the members."""
    if given.endswith(".json") or Path(given).is_file():
        return read_weights(Path(given))
    try:
        numbers = [float(number) for number in given.split(",")]
    except ValueError as error:
        raise ValueError(f"--weights {given} is neither numbers with commas between nor a .json file") from error
    if len(numbers) != len(members):
        raise ValueError(f"--weights has {len(numbers)} numbers for {len(members)} submissions; give one for each")
    return Weights(MEMBER_K, dict(zip(members, numbers, strict=True)))


def target(out: Path | None) -> Path:
    if out is None:
        raise ValueError("say where to write with --out FILE")
    return out


def at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"--{name} is {value}; it must be at least 1")


PROGRAM = "python -m scoring"


def _warn_of_missing_classes(sources: Mapping[str, RankedLists]) -> None:
    every = set().union(*(source.classes for source in sources.values()))
    for name, source in sources.items():
        if missing := len(every.difference(source.classes)):
            lacking = counted(missing, "class")
            logger.warning("%s lacks %s that others have; it has no vote there", name, lacking)
