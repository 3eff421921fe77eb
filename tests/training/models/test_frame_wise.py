import numpy as np
import pytest
import torch

from training.models.frame_wise import RARE, FrameWise, FrameWiseConfig
from training.windows.examples import SegmentExamples, VideoExamples
from training.windows.sampler import Sampler
from training.windows.segments import SegmentWindows
from videos.segments import segments_of
from videos.store import FrameStore

CONFIG = FrameWiseConfig(surroundings=2, hidden=16, heads=4, intermediate=32)
WIDTH, CLASSES, WINDOW = 24, 7, 7  # a segment of three frames, two around it on each side


def frame_wise() -> FrameWise:
    torch.manual_seed(0)
    model = CONFIG.build({"rgb": 16, "audio": 8}, CLASSES, WINDOW)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model.eval()


def windows(batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, WINDOW, WIDTH)


def test_a_score_is_the_linear_softmax_of_the_segment_s_frames() -> None:
    model, x = frame_wise(), windows()
    logits: list[torch.Tensor] = []

    def noting(_: torch.nn.Module, inputs: object, output: torch.Tensor) -> None:
        logits.append(output)

    model.head.register_forward_hook(noting)
    score = model(x)
    p = 1 / (1 + np.exp(-logits[0].double().detach().numpy()))
    assert p.shape == (3, 3, CLASSES)
    np.testing.assert_allclose(score.detach(), (p**2).sum(1) / p.sum(1), atol=1e-6)


def test_in_training_the_frames_with_a_weight_are_pooled() -> None:
    """Pre-training pools the surroundings too; prediction never does, nor the fine-tuning that gives no weights."""
    model, x = frame_wise(), windows()
    everywhere, inside = torch.ones(3, WINDOW), torch.tensor([[0.0, 0, 1, 1, 1, 0, 0]] * 3)
    in_prediction = model(x)
    torch.testing.assert_close(model(x, everywhere), in_prediction)
    for block in model.blocks:
        block.dropout.p = 0.0
    model.train()
    torch.testing.assert_close(model(x), in_prediction)
    torch.testing.assert_close(model(x, inside), in_prediction)
    assert (model(x, everywhere) - in_prediction).abs().max() > 1e-3


def test_a_frame_sees_its_surroundings_but_no_padding() -> None:
    model, x = frame_wise(), windows()
    before = model(x)
    x[:, 0] += 1
    assert (model(x) - before).abs().max() > 1e-3
    x[:, 0] = 0
    without = model(x)
    with torch.no_grad():
        model.places[0] += 10  # of a row that is not there
    torch.testing.assert_close(model(x), without)


def test_rows_that_are_padding_are_left_out_in_training() -> None:
    """Two short windows beside a full one, of which every row is computed, and without it."""
    model, x = frame_wise(), windows()
    for block in model.blocks:
        block.dropout.p = 0.0
    model.train()
    x[0, :4] = x[1, 3:] = 0
    weights = torch.rand(3, WINDOW)
    computed = []
    model.blocks[0].register_forward_hook(lambda _block, inputs, _output: computed.append(inputs[0].shape[1]))
    both = model(x, weights)[:2]
    torch.testing.assert_close(model(x[:2], weights[:2]), both)
    assert computed == [WINDOW, 3]


def test_it_begins_with_classes_being_rare() -> None:
    torch.manual_seed(0)
    model = CONFIG.build({"rgb": 16, "audio": 8}, CLASSES, WINDOW)
    assert model.head.linear.bias.tolist() == [RARE] * CLASSES
    assert model(windows(20)).median() < 0.1


def test_a_window_without_a_segment_is_refused() -> None:
    with pytest.raises(ValueError, match="a window of 4 frames leaves none for the segment, which 4 surround"):
        CONFIG.build({"audio": 8}, CLASSES, window=4)


def test_a_weak_sampler_s_surroundings_count_in_pre_training_alone(tiny: FrameStore) -> None:
    sampler = Sampler("sequence", surroundings=2, weak=True)
    plain = Sampler("sequence", surroundings=2)
    rng = np.random.default_rng
    rows = np.arange(4)
    video = VideoExamples(tiny, sampler).batch(rows, rng(0))
    assert video.frame_weights is not None
    assert video.frames.padding is not None
    assert (video.frame_weights == 0).any()  # before the first frame, or after the last
    np.testing.assert_array_equal(video.frame_weights, (video.features != 0).any(-1))
    assert VideoExamples(tiny, plain).batch(rows, rng(0)).frame_weights is None
    assert SegmentExamples(tiny, sampler, "none").batch(rows, rng(0)).frame_weights is None
    segments = segments_of(tiny.split("holdout"), tiny.dataset)
    inside = np.zeros(sampler.length(tiny.dataset.segment_frames))
    inside[2:-2] = 1
    weights = SegmentWindows(tiny, segments, sampler).at(rows, -1, 1).frame_weights
    np.testing.assert_array_equal(weights, np.tile(inside, (8, 1)))
    assert (SegmentWindows(tiny, segments, plain).at(rows, 0).frame_weights == 1).all()


def test_drawn_frames_have_no_surroundings_to_be_weak() -> None:
    with pytest.raises(ValueError, match="weak is True, which the kind 'frames' does not use"):
        Sampler("frames", weak=True)
