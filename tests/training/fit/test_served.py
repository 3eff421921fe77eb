"""The model that is logged weighs the frames of a window as prediction does, the short last segments' too."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from training.job import Job
from training.member import Member
from training.members import member_of
from training.models.gated_netvlad import GatedNetVladConfig
from training.models.mix_nextvlad import MixNeXtVladConfig
from training.windows.sampler import Sampler
from training.windows.segments import SegmentWindows
from videos.segments import segments_of
from videos.store import FrameStore

MEMBERS = (
    replace(member_of("paper", "gated-netvlad"), config=GatedNetVladConfig(clusters=4, hidden=8, output=16)),
    Member("drawn", MixNeXtVladConfig(clusters=4, hidden=16), (0,), Sampler("frames", 60, weighted=True)),
    Member("gated-by-place", MixNeXtVladConfig(clusters=4, hidden=16, gate="frame_means"), (0,), Sampler("frames", 7)),
)


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
def test_it_scores_as_prediction_does(tiny: FrameStore, member: Member) -> None:
    estimator = Job(lineup="paper", member=member, store=tiny).estimator()
    segments = segments_of(tiny.split("test"), tiny.dataset)
    assert (segments["frames"] - segments["start"] < tiny.dataset.segment_frames).any()  # short ones
    windows = SegmentWindows(tiny, segments, member.sampler).at(np.arange(len(segments)), 0)
    expected = estimator.predictor(np.arange(tiny.dataset.classes))(windows)
    served, features = estimator.servable(), windows.features
    if isinstance(served, torch.nn.Module):
        with torch.no_grad():
            scores = served.eval()(torch.from_numpy(features)).numpy()
    else:
        scores = np.asarray(served(features, training=False))  # pyright: ignore[reportCallIssue]
    np.testing.assert_allclose(scores, expected, atol=2e-6)
