"""`python -m training`: ingest, pretrain, finetune, infer, sweep, run, train, members."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from scoring.weights.settings import DEFAULTS, SearchSettings
from terminal.cli import Group, main
from training.fit.options import DEFAULT, TorchOptions

if TYPE_CHECKING:
    from training.job import Job

Folder = Annotated[Path, arg(metavar="DIR", help_behavior_hint="(required)")]
LineUp = Annotated[str, arg(metavar="NAME")]


@dataclass(frozen=True, kw_only=True)
class MemberFlags:
    """One member of a line-up on a frame store."""

    name: Annotated[Positional[str], arg(metavar="MEMBER", help_behavior_hint="")]
    """Its name; `python -m training members` lists them."""
    lineup: LineUp
    """The line-up it is taken from: demo, audioset, audioset-claims (hundreds of steps), paper, beyond
    (220,000 steps)."""
    data: Folder
    """Folder of the frame store."""
    force: bool = False
    """Do it again even if it has been done."""
    torch: OmitArgPrefixes[TorchOptions] = DEFAULT

    def job(self) -> "Job":
        from training.job import Job
        from training.members import member_of
        from videos.store import open_frames

        store = open_frames(self.data)
        member = member_of(self.lineup, self.name)
        return Job(lineup=self.lineup, member=member, store=store, force=self.force, options=self.torch)


ByMember = OmitArgPrefixes[MemberFlags]  # its fields are flags without a prefix


def pretrain(member: ByMember) -> None:
    """Pre-train one member on video-level labels."""
    from training import stages

    stages.pretrain(member.job())


def finetune(member: ByMember) -> None:
    """Fine-tune one pre-trained member on rated segments."""
    from training import stages

    stages.finetune(member.job())


def infer(member: ByMember, split: Literal["holdout", "test"] = "holdout") -> None:
    """Rank the segments of a split under each of the member's shifts, by its fine-tuned weights.

    Args:
        split: Which videos.
    """
    from training import stages

    stages.infer(member.job(), split)


def sweep(member: ByMember, folds: int = 3) -> None:
    """Compare learning rates, loss masks and other settings of a member's fine-tuning, without reading the holdout.

    For each setting the member is fine-tuned once per fold of the split finetune, on the others; the fold it has not
    seen is scored at every checkpoint, under every shift. Each setting is a run.

    Args:
        folds: Number of folds.
    """
    from training import sweep

    sweep.print_sweep(member.job(), folds)


def run(
    lineup: LineUp,
    data: Folder,
    search: OmitArgPrefixes[SearchSettings] = DEFAULTS,
    force: bool = False,
    scheduler: Annotated[str | None, arg(metavar="ADDRESS", help_behavior_hint="")] = None,
    notify: Annotated[str | None, arg(metavar="COMMAND", help_behavior_hint="")] = None,
    final: bool = False,
    torch: OmitArgPrefixes[TorchOptions] = DEFAULT,
) -> None:
    """Take a whole line-up through every stage, fuse it, and print how each member and the ensemble did.

    Stages that have finished with the same configuration and data are skipped. The fused test split is written to
    submissions/.

    Args:
        lineup: Its name: demo, audioset, audioset-claims (hundreds of steps per member), paper, beyond (220,000 steps
            per member).
        data: Folder of the frame store.
        force: Do everything again.
        scheduler: Address of a Dask scheduler, such as tcp://host:8786, whose workers train (docs/scale.md).
        notify: A program with its arguments, run when the line-up has ended or failed, with RUN_STATUS (FINISHED,
            FAILED or KILLED), RUN_ERROR, RUN_DATASET and RUN_LINEUP in its environment.
        final: When all that is done, fine-tune the members again on everything rated, the holdout included, for the
            number of steps that was best, and fuse the test split with the same weights.
    """
    from training import line_up

    line_up.run(
        lineup, data, search=search, force=force, options=torch, scheduler=scheduler, notify=notify, final=final
    )


def train(
    lineup: LineUp,
    data: Folder,
    split: Literal["holdout", "test"] = "holdout",
    force: bool = False,
    torch: OmitArgPrefixes[TorchOptions] = DEFAULT,
) -> None:
    """Take the members of a line-up through their stages, without making an ensemble of them.

    Stages that have finished with the same configuration and data are skipped.

    Args:
        lineup: Its name, such as audioset-claims.
        data: Folder of the frame store.
        split: Which videos to predict.
        force: Do everything again.
    """
    from training import line_up

    line_up.train(lineup, data, splits=[split], force=force, options=torch)


def members(lineup: LineUp = "paper", json: bool = False) -> None:
    """List the members of a line-up: framework, parameters, shifts, and what the paper published.

    Args:
        lineup: Its name: demo, audioset, audioset-claims, paper or beyond.
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


if __name__ == "__main__":
    # Before torch is loaded: threads that spin at a barrier slow small kernels down thirtyfold on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main(
        {
            "ingest": Group("Read video records into a frame store.", _ingest),
            "pretrain": pretrain,
            "finetune": finetune,
            "infer": infer,
            "sweep": sweep,
            "run": run,
            "train": train,
            "members": members,
        },
        prog="python -m training",
        description="Train the members of a line-up and predict with them, every stage a tracked run.",
    )
