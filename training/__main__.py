"""`python -m training`: ingest, pretrain, finetune, infer, run, members."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from scoring.weights.settings import DEFAULTS, SearchSettings
from terminal.cli import Group, main
from training.fit.options import DEFAULT, TorchOptions

Member = Annotated[Positional[str], arg(metavar="MEMBER", help_behavior_hint="")]
Folder = Annotated[Path, arg(metavar="DIR", help_behavior_hint="(required)")]
LineUp = Annotated[str, arg(metavar="NAME")]
# The fields of these are flags without a prefix.
Options = OmitArgPrefixes[TorchOptions]
Search = OmitArgPrefixes[SearchSettings]


def pretrain(member: Member, lineup: LineUp, data: Folder, force: bool = False, torch: Options = DEFAULT) -> None:
    """Pre-train one member on video-level labels.

    Args:
        member: Its name; `python -m training members` lists them.
        lineup: The line-up it is taken from: demo, audioset (hundreds of steps), paper, beyond (220,000 steps).
        data: Folder of the frame store.
        force: Do it again even if it has been done.
    """
    from training import stages

    stages.pretrain(_job(member, data, lineup, force, torch))


def finetune(member: Member, lineup: LineUp, data: Folder, force: bool = False, torch: Options = DEFAULT) -> None:
    """Fine-tune one pre-trained member on rated segments.

    Args:
        member: Its name; `python -m training members` lists them.
        lineup: The line-up it is taken from: demo, audioset (hundreds of steps), paper, beyond (220,000 steps).
        data: Folder of the frame store.
        force: Do it again even if it has been done.
    """
    from training import stages

    stages.finetune(_job(member, data, lineup, force, torch))


def infer(
    member: Member,
    lineup: LineUp,
    data: Folder,
    split: Literal["holdout", "test"] = "holdout",
    force: bool = False,
    torch: Options = DEFAULT,
) -> None:
    """Rank the segments of a split under each of the member's shifts, by its fine-tuned weights.

    Args:
        member: Its name; `python -m training members` lists them.
        lineup: The line-up it is taken from: demo, audioset (hundreds of steps), paper, beyond (220,000 steps).
        data: Folder of the frame store.
        split: Which videos.
        force: Do it again even if it has been done.
    """
    from training import stages

    stages.infer(_job(member, data, lineup, force, torch), split)


def run(
    lineup: LineUp,
    data: Folder,
    search: Search = DEFAULTS,
    force: bool = False,
    torch: Options = DEFAULT,
) -> None:
    """Take a whole line-up through every stage, fuse it, and print how each member and the ensemble did.

    Stages that have finished with the same configuration and data are skipped.

    Args:
        lineup: Its name: demo, audioset (hundreds of steps a member), paper, beyond (220,000 steps a member).
        data: Folder of the frame store.
        force: Do everything again.
    """
    from training import line_up

    line_up.run(lineup, data, search=search, force=force, options=torch)


def members(lineup: LineUp = "paper", json: bool = False) -> None:
    """List the members of a line-up: framework, parameters, shifts, and what the paper published.

    Args:
        lineup: Its name: demo, audioset, paper or beyond.
        json: Print a JSON list instead of a table.
    """
    from training import listing

    listing.print_members(lineup, json)


def _ingest() -> Mapping[str, Callable]:
    from videos import ingest

    return {
        "yt8m": ingest.tracked(ingest.ingest_yt8m),
        "audioset": ingest.tracked(ingest.ingest_audioset),
        "synthetic": ingest.tracked(ingest.ingest_synthetic),
    }


def _job(member: str, data: Path, lineup: str, force: bool, options: TorchOptions):
    from training.job import Job
    from training.members import member_of
    from videos.store import open_frames

    return Job(lineup=lineup, member=member_of(lineup, member), store=open_frames(data), force=force, options=options)


if __name__ == "__main__":
    # Before torch is loaded: threads that spin at a barrier slow small kernels down thirtyfold on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main(
        {
            "ingest": Group("Read video records into a frame store.", _ingest),
            "pretrain": pretrain,
            "finetune": finetune,
            "infer": infer,
            "run": run,
            "members": members,
        },
        prog="python -m training",
        description="Train the members of a line-up and predict with them, every stage a tracked run.",
    )
