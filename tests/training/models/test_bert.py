import numpy as np
import pytest
import torch

from training.models.bert import Bert, BertConfig
from training.models.layers.pooling import Kind, Pooling
from training.models.loss import binary_cross_entropy

WIDTHS = {"rgb": 16, "audio": 8}
CLASSES, WINDOW = 7, 5


def bert(pooling: Kind, layers: int = 2) -> Bert:
    torch.manual_seed(0)
    config = BertConfig(layers=layers, heads=4, pooling=pooling, intermediate=32)
    model = config.build(WIDTHS, CLASSES, WINDOW).eval()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def windows() -> torch.Tensor:
    return torch.randn(3, WINDOW, 24)


def test_poolings_by_hand():
    frames = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    assert Pooling("concat", 2, 2)(frames).tolist() == [[1, 2, 3, 4]]
    assert Pooling("mean", 2, 2)(frames).tolist() == [[2, 3]]
    tokens: dict[Kind, list[list[int]]] = {"first": [[1, 2]], "last": [[3, 4]]}
    for kind, expected in tokens.items():
        pooling = Pooling(kind, 2, 2)
        assert pooling(frames[:, pooling.kept]).tolist() == expected
    attention = Pooling("attention", 2, 2)
    attention.attention.data = torch.tensor([0.5, 0.25])
    logits = np.array([0.5 * 1 + 0.25 * 2, 0.5 * 3 + 0.25 * 4]) / np.sqrt(2)
    shares = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(attention(frames).tolist(), [shares @ [[1, 2], [3, 4]]], rtol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_order_of_frames_is_nothing_to_mean_and_attention(pooling):
    x = windows()
    torch.testing.assert_close(bert(pooling)(x), bert(pooling)(x[:, [3, 0, 4, 1, 2]]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", ["concat", "first", "last"])
def test_order_of_frames_matters_to_the_others(pooling):
    x = windows()
    assert (bert(pooling)(x) - bert(pooling)(x[:, [3, 0, 4, 1, 2]])).abs().max() > 1e-3


def test_first_of_a_window_is_last_of_the_window_turned_round():
    x = windows()
    first, last = bert("first"), bert("last")
    torch.testing.assert_close(first(x), last(x.flip(1)), atol=1e-5, rtol=0)
    assert (first(x) - last(x)).abs().max() > 1e-3


@pytest.mark.parametrize("pooling", ["first", "last"])
def test_one_token_alone_gives_what_all_tokens_give(pooling):
    model, x = bert(pooling), windows()
    everything = model.encoder.attend(model.encode_frames(x))
    one = everything[:, 0 if pooling == "first" else -1]
    torch.testing.assert_close(model(x), model.head(one), atol=1e-5, rtol=0)


def test_frames_are_normalised_and_weights_ignored():
    """A louder frame is the same frame; a padding frame takes part whatever its weight."""
    model, x = bert("mean"), windows()
    torch.testing.assert_close(model(x), model(x * torch.rand(3, WINDOW, 1).add(0.5)), atol=1e-5, rtol=0)
    x[:, 4] = 0
    assert model(x).isfinite().all()
    torch.testing.assert_close(model(x), model(x, torch.tensor([1.0, 1, 1, 1, 0]).expand(3, -1)))
    assert (model(x) - model(x[:, :4])).abs().max() > 1e-3


def test_masked_frames_are_reconstructed_from_the_others():
    torch.manual_seed(0)
    config = BertConfig(layers=1, heads=4, pooling="mean", intermediate=32, dropout=0.0, masked=0.4)
    model, x, labels = config.build(WIDTHS, CLASSES, WINDOW), torch.randn(16, WINDOW, 24), torch.zeros(16, CLASSES)
    x[:, 1:] = x[:, :1]  # all frames of a window are alike, so a masked one follows from the others
    x[:4, 4] = 0  # padding
    torch.manual_seed(1)
    is_masked = (torch.rand(16, WINDOW) < 0.4) & (x != 0).any(-1)
    frames = x / x.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    hidden = torch.where(is_masked.unsqueeze(-1), model.mask / model.mask.norm(), frames)
    output = model.reconstruct(model.encoder.blocks[0](hidden))
    expected = (1 - torch.cosine_similarity(output, frames, dim=-1))[is_masked].mean()
    torch.manual_seed(1)
    torch.testing.assert_close(model.reconstruction(x), expected)
    torch.manual_seed(1)
    labelled = binary_cross_entropy(model(x), labels)  # of whole windows
    torch.testing.assert_close(model.loss(x, None, labels), labelled + expected)
    model.loss(x, None, labels).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        model.reconstruction(x).backward()
        optimizer.step()
    assert expected.item() > 0.8
    assert model.reconstruction(x).item() < 0.6


def test_a_share_of_no_frames_adds_nothing_and_is_the_default():
    plain, model = bert("mean"), BertConfig(heads=4, pooling="mean", intermediate=32, masked=0.0)
    assert model.build(WIDTHS, CLASSES, WINDOW).state_dict().keys() == plain.state_dict().keys()
    with pytest.raises(ValueError, match=r"masked is -0\.1; give at least 0"):
        BertConfig(masked=-0.1)


def test_concat_refuses_another_window():
    with pytest.raises(ValueError, match="windows of 5 frames and met 4"):
        bert("concat")(windows()[:, :4])


def test_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="pooling is 'median'; choose one of concat, first"):
        bert("median")  # pyright: ignore[reportArgumentType]
