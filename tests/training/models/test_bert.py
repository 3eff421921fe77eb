import numpy as np
import pytest
import torch

from training.models.bert import Bert, BertConfig
from training.models.layers.pooling import Kind, Pooling

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


def test_concat_refuses_another_window():
    with pytest.raises(ValueError, match="windows of 5 frames and met 4"):
        bert("concat")(windows()[:, :4])


def test_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="pooling is 'median'; choose one of concat, first"):
        bert("median")  # pyright: ignore[reportArgumentType]
