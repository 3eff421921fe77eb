"""The video-level prior: its formula, and that every prediction of a member has it."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tests.training.test_toys import TOYS
from training import members, ranking, stages
from training.fit.kinds import KINDS
from training.job import Job
from training.member import Member
from training.prior import with_prior
from training.serving import ranked_shifts
from videos.segments import segments_of
from videos.store import FrameStore

VIDEOS = np.array([3, 3, 7], dtype=np.uint32)


def test_a_score_is_mixed_with_the_mean_of_its_video_under_the_same_shift() -> None:
    scores = np.array([[[0.1], [0.3], [0.4]], [[0.5], [0.5], [0.0]]], dtype=np.float32)
    root = with_prior(scores, VIDEOS, 0.5)
    assert root[:, :, 0] == pytest.approx(np.array([[0.02**0.5, 0.06**0.5, 0.4], [0.5, 0.5, 0.0]]))
    assert with_prior(scores, VIDEOS, 1.0)[:, :, 0] == pytest.approx(np.array([[0.2, 0.2, 0.4], [0.5, 0.5, 0.0]]))
    assert with_prior(scores, VIDEOS, 0.25)[0, 0, 0] == pytest.approx(0.2**0.25 * 0.1**0.75)


def test_a_pair_that_is_no_candidate_stays_below_those_that_are() -> None:
    scores = np.array([[[0.1 - 1, 0.0], [0.3 - 1, 1.0], [0.4 - 1, 0.2]]], dtype=np.float32)
    mixed = with_prior(scores, VIDEOS, 0.5)
    assert mixed[0, :, 0] == pytest.approx([0.02**0.5 - 1, 0.06**0.5 - 1, 0.4 - 1])
    assert mixed[0, :, 1] == pytest.approx([0.0, 0.5**0.5, 0.2])


def test_scores_do_not_depend_on_the_other_videos_of_a_block() -> None:
    rng = np.random.default_rng(0)
    videos = np.repeat(np.arange(40), rng.integers(1, 9, 40))
    scores = rng.random((2, len(videos), 3), dtype=np.float32)
    whole = with_prior(scores, videos, 0.3)
    for video in range(40):
        rows = videos == video
        assert with_prior(scores[:, rows], videos[rows], 0.3).tobytes() == whole[:, rows].tobytes()


def test_it_is_a_share() -> None:
    with pytest.raises(ValueError, match=r"Member: prior is 1\.5; give at most 1"):
        replace(TOYS[-1], prior=1.5)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> tuple[Member, Member]:
    """The same member without a prior and with one."""
    plain = replace(TOYS[-1], pretrain=None)
    both = plain, replace(plain, prior=0.5)
    monkeypatch.setitem(KINDS, "toy", "tests.training.toy_kind")
    monkeypatch.setitem(members.LINE_UPS, "plain", lambda: both[:1])
    monkeypatch.setitem(members.LINE_UPS, "mixed", lambda: both[1:])
    monkeypatch.setattr(ranking, "SEGMENTS", 3)
    return both


@pytest.mark.usefixtures("store")
def test_inference_and_served_ensembles_have_it(tiny: FrameStore, toys: tuple[Member, Member]) -> None:
    plain, mixed = (
        Job(lineup=name, member=toy, store=tiny) for name, toy in zip(("plain", "mixed"), toys, strict=True)
    )
    tuned = {job.lineup: stages.finetune(job) for job in (plain, mixed)}
    segments = segments_of(tiny.split("holdout"), tiny.dataset)
    rows = np.arange(len(segments))
    scores = plain.trained(tuned["plain"].artifact("checkpoint")).scorer(tiny, segments)(rows)
    expected = with_prior(scores, segments["video_id"].rank("dense").to_numpy(), 0.5)
    trained = mixed.trained(tuned["mixed"].artifact("checkpoint"))
    videos = replace(tiny, videos=tiny.split("holdout"))
    served = ranked_shifts(trained, videos)
    predictions = stages.infer(mixed, "holdout").artifact("predictions")
    assert not np.allclose(expected, scores)
    for number, shift in enumerate(mixed.member.shifts):
        own = pl.read_parquet(predictions / f"shift{shift}.parquet")
        assert own.equals(served[shift].lists)
        for place, row in enumerate(own.iter_rows(named=True)):
            assert row["scores"] == pytest.approx(expected[number, row["segments"], place])
