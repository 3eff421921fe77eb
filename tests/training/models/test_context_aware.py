import pytest
import torch

from training.models.context_aware import ContextAware, ContextAwareConfig

WIDTH, SEGMENT, AROUND, VIDEO = 24, 3, 2, 4
NEAR = SEGMENT + 2 * AROUND
CONFIG = ContextAwareConfig(surroundings=AROUND, video_frames=VIDEO, hidden=16, heads=4, intermediate=32)


def context_aware() -> ContextAware:
    torch.manual_seed(0)
    model = CONFIG.build({"rgb": 16, "audio": 8}, 7, CONFIG.window(SEGMENT)).eval()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def windows() -> torch.Tensor:
    return torch.randn(2, NEAR + VIDEO, WIDTH)


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return (one - other).abs().max().item()


def test_window_is_the_segment_its_surroundings_and_the_video():
    assert CONFIG.window(SEGMENT) == NEAR + VIDEO
    model = context_aware()
    assert (model.near, model.segment) == (NEAR, slice(2, 5))


def test_surroundings_and_video_are_read():
    model, x = context_aware(), windows()
    for place in (0, NEAR - 1, NEAR, NEAR + VIDEO - 1):
        other = x.clone()
        other[:, place] = torch.randn(WIDTH)
        assert difference(model(x), model(other)) > 1e-4


def test_order_counts_near_the_segment_and_not_in_the_video():
    model, x = context_aware(), windows()
    turned, shuffled = x.clone(), x.clone()
    turned[:, :NEAR] = x[:, :NEAR].flip(1)
    shuffled[:, NEAR:] = x[:, NEAR:].flip(1)
    assert difference(model(x), model(turned)) > 1e-4
    assert difference(model(x), model(shuffled)) < 1e-6


def test_weight_of_a_videos_frame_is_repetition():
    model, x = context_aware(), windows()
    x[:, NEAR + 1] = x[:, NEAR]
    weights = torch.ones(2, NEAR + VIDEO)
    weights[:, NEAR], weights[:, NEAR + 1] = 2, 0
    assert difference(model(x), model(x, weights)) < 1e-6


def test_rows_of_zeros_are_no_frames():
    """At a video's start nothing is before the segment, and a short video has fewer frames to show."""
    model, x = context_aware(), windows()
    weights = torch.ones(2, NEAR + VIDEO)
    for place in (0, 1, NEAR + 3):
        weights[:, place] = 0
    absent = x * weights.unsqueeze(-1)
    assert difference(model(absent), model(x, weights)) < 1e-6
    assert difference(model(absent), model(x)) > 1e-4
    assert model(torch.zeros_like(x)).isfinite().all()


def test_surroundings_are_read_though_the_last_block_does_not_go_on_with_them():
    """The scores are those of blocks that go on with every frame."""
    model, x = context_aware(), windows()
    _, tokens, attention = model.encode_frames(x)
    video = model.pool(tokens[:, NEAR:], attention[:, NEAR:], torch.ones(2, VIDEO))
    hidden = torch.cat([video.unsqueeze(1), tokens[:, :NEAR]], dim=1) + model.places
    for block in model.blocks:
        hidden = block(hidden)
    segment = hidden[:, 1 + AROUND : 1 + AROUND + SEGMENT].mean(1)
    assert difference(model(x), model.head(torch.cat([segment, hidden[:, 0]], dim=-1))) < 1e-6


def test_windows_of_one_video_pool_its_frames_once(monkeypatch):
    """Two videos, the first seen by three windows and the second by two, one of which weighs its frames otherwise."""
    model, frames = context_aware(), torch.randn(20, WIDTH)
    near = torch.arange(5)[:, None] + torch.arange(NEAR)
    index = torch.cat([near, torch.tensor([[0, 2, 4, 6]] * 3 + [[11, 13, 15, 19]] * 2)], dim=1)
    weights = torch.ones(index.shape)
    weights[4, NEAR:] = torch.tensor([3.0, 0, 1, 1])
    pool, pooled = model.pool, []
    monkeypatch.setattr(model, "pool", lambda *parts: (pooled.append(len(parts[0])), pool(*parts))[1])
    scores = model.score_indexed(model.encode_frames(frames), index, weights)
    assert pooled == [3]
    assert difference(scores, model(frames[index], weights)) < 1e-6
    assert difference(scores[4], model(frames[index])[4]) > 1e-4


def test_a_quarter_of_the_videos_is_forgotten_in_training_alone():
    """A whole video's encoding at a time, the others' made up for it by 1 / (1 - p)."""
    model, given = context_aware(), []
    model.blocks[0].register_forward_pre_hook(lambda _, inputs: given.append(inputs[0][:, 0] - model.places[0]))
    videos, tokens, weights = torch.rand(4000, 16) + 1, torch.randn(4000, NEAR, 16), torch.ones(4000, NEAR)
    model.read(tokens, weights, videos)
    model.train().read(tokens, weights, videos)
    torch.testing.assert_close(given[0], videos)
    forgotten = given[1].abs().amax(1) < 1e-5
    assert forgotten.float().mean().item() == pytest.approx(0.25, abs=0.03)
    torch.testing.assert_close(given[1][~forgotten], videos[~forgotten] / 0.75)


def test_window_too_short_is_refused():
    with pytest.raises(ValueError, match="8 frames leaves none for the segment: 4 surround it and 4 are"):
        CONFIG.build({"audio": 8}, 7, window=8)


def test_a_context_without_a_video_is_refused() -> None:
    with pytest.raises(ValueError, match="video_frames is 0; give at least 1"):
        ContextAwareConfig(video_frames=0)
