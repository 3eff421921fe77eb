"""Pre-training repeats the videos of rare scored classes."""

from dataclasses import replace

import numpy as np
import pytest

from training import stages
from training.job import Job
from training.members import PAPER
from training.windows.examples import VideoExamples, times_repeated
from training.windows.sampler import Sampler
from videos.store import FrameStore

# Of 100 videos: class 0 is in all, class 1 in the first 25, class 2 in the first, class 3 (not scored) in the last.
COUNTS = np.array([3, *[2] * 24, *[1] * 74, 2])
LABELS = np.concatenate([[0, 1, 2], *[[0, 1]] * 24, *[[0]] * 74, [0, 3]]).astype(np.int64)


def test_the_rarest_scored_class_of_a_video_decides() -> None:
    times = times_repeated(LABELS, COUNTS, [0, 1, 2], 0.5)
    assert times.tolist() == [7, *[1] * 99]  # sqrt(0.5 / 0.01) and sqrt(0.5 / 0.25), rounded
    assert times_repeated(LABELS, COUNTS, [0, 1, 2], 1.0).tolist() == [10, *[2] * 24, *[1] * 75]
    assert times_repeated(LABELS, COUNTS, [0, 1], 1.0).tolist() == [*[2] * 25, *[1] * 75]


@pytest.mark.parametrize(("scored", "repeat_below"), [([0, 1, 2, 3], 0.0), ([], 1.0)])
def test_without_a_threshold_or_a_scored_class_nothing_is_repeated(scored: list[int], repeat_below: float) -> None:
    assert times_repeated(LABELS, COUNTS, scored, repeat_below).tolist() == [1] * 100


def test_each_repetition_is_an_example_of_the_same_video(tiny: FrameStore) -> None:
    sampler = Sampler("sequence")
    once, repeated = VideoExamples(tiny, sampler), VideoExamples(tiny, sampler, repeat_below=1.0)
    assert len(repeated) > len(once)
    labels = once.batch(np.arange(len(once)), np.random.default_rng(0)).labels
    again = repeated.batch(np.arange(len(repeated)), np.random.default_rng(0)).labels
    scored = np.zeros(labels.shape[1], dtype=bool)
    scored[tiny.dataset.scored_classes] = True
    share = np.where(scored, labels.sum(0), np.inf) / len(once)
    rarest = np.where(labels > 0, share, np.inf).min(1)
    times = np.maximum(np.rint(1 / np.sqrt(rarest)), 1).astype(int)
    np.testing.assert_array_equal(again, np.repeat(labels, times, axis=0))


def test_it_is_of_pre_training_alone(tiny: FrameStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "_run_once", lambda job, stage, work: work())
    counts: list[int] = []
    monkeypatch.setattr(stages, "_fit", lambda job, stage, schedule, examples, start: counts.append(len(examples)))
    member = PAPER[0]
    assert member.pretrain is not None
    repeating = replace(member, pretrain=replace(member.pretrain, repeat_below=1.0))
    for one in (member, repeating):
        stages.pretrain(Job(lineup="paper", member=one, store=tiny))
    assert counts == [len(VideoExamples(tiny, member.sampler)), len(repeating.video_examples(tiny))]
    assert counts[1] > counts[0]
    with pytest.raises(ValueError, match="repeat_below in its fine-tuning; set it for its pre-training only"):
        replace(member, finetune=replace(member.finetune, repeat_below=1.0))
