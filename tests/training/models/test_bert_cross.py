import pytest
import torch

from training.models.bert_cross import BertCross, BertCrossConfig
from training.models.layers.pooling import Kind

WIDTHS = {"rgb": 16, "audio": 8}


def cross(layers: int = 2, pooling: Kind = "mean") -> BertCross:
    torch.manual_seed(0)
    config = BertCrossConfig(layers=layers, heads=4, pooling=pooling, intermediate=32)
    model = config.build(WIDTHS, 7, window=5).eval()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize("layers", [2, 3])
def test_modalities_meet_in_the_last_block_alone(layers):
    """The blocks one by one: frames normalised as wholes, then parted, read apart, joined feature by feature."""
    model, x = cross(layers), torch.randn(3, 5, 24)
    frames = x / x.norm(dim=-1, keepdim=True)
    rgb, audio = frames[..., :16], frames[..., 16:]
    for depth in range(layers - 1):
        rgb = model.modalities[0].blocks[depth](rgb)
        audio = model.modalities[1].blocks[depth](audio)
    joint = model.joint.blocks[0](torch.cat([rgb, audio], dim=-1))
    torch.testing.assert_close(model(x), model.head(joint.mean(1)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_order_of_frames_is_nothing_to_it(pooling):
    model, x = cross(pooling=pooling), torch.randn(3, 5, 24)
    torch.testing.assert_close(model(x), model(x[:, [3, 0, 4, 1, 2]]), atol=1e-5, rtol=0)


def test_one_modality_is_refused():
    with pytest.raises(ValueError, match="BERTCross needs two modalities and there is only audio"):
        BertCrossConfig().build({"audio": 128}, 7, window=5)
