"""What a process of torchrun does in `test_torch.py`: fit some members, then take one through a stage.

Called with the folder of a frame store and the file that the losses go to.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.training.conftest import briefly
from training import stages
from training.fit import processes
from training.fit.checkpoints import Checkpoints
from training.fit.loop import fit
from training.fit.options import TorchOptions
from training.fit.torch import TorchEstimator
from training.job import Job
from training.member import Member, Schedule
from training.members import member_of
from training.windows.examples import SegmentExamples, VideoExamples
from videos.store import FrameStore, open_frames

CPU = TorchOptions(device="cpu")
# Small, since rounding decides Adam's steps of biases before a batch normalisation. In training mode they change
# nothing; the targets of evaluation mode differ by 4e-4 after three steps.
CONSISTENCY = 0.1


def without_dropout(name: str, **settings) -> Member:
    """A member whose learning has nothing random but its frames, so that it can be compared."""
    member = briefly(member_of("paper", name))
    return replace(member, config=replace(member.config, dropout=0.0, **settings))  # pyright: ignore[reportCallIssue]


MEMBERS = (without_dropout("bert-l2h12-mean"), without_dropout("mix-nextvlad-60", clusters=8, hidden=32))


def losses_of(
    store: FrameStore, member: Member, options: TorchOptions = CPU, consistency: float = CONSISTENCY
) -> list[float]:
    """The loss of each of six steps, three on videos and three on segments with unrated windows, one fit each."""
    estimator, losses = TorchEstimator(member, store.dataset, options), []
    step = estimator.train_step

    def noted(batch, rate: float):
        loss = step(batch, rate)
        losses.append(float(loss))
        return loss

    estimator.train_step = noted
    rated = SegmentExamples(store, member.sampler, "none", consistency=consistency)
    for examples in (VideoExamples(store, member.sampler), rated):
        with TemporaryDirectory() as folder:
            schedule = Schedule(3, 3, batch=16, learning_rate=1e-3)
            fit(estimator, examples, member=member, schedule=schedule, checkpoints=Checkpoints(Path(folder)))
    return losses


if __name__ == "__main__":
    store = open_frames(Path(sys.argv[1]))
    losses = {member.name: losses_of(store, member) for member in MEMBERS}
    stages.pretrain(Job(lineup="paper", member=MEMBERS[0], store=store, options=CPU))
    if processes.rank() == 0:
        Path(sys.argv[2]).write_text(json.dumps(losses))
