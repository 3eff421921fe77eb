import numpy as np
import pytest
import torch

from training.models.frame_mean import FrameMean, FrameMeanConfig
from training.models.layers.pooling import weighted_mean

WIDTHS, CLASSES, T = {"rgb": 16, "audio": 8}, 7, 4


def frame_mean() -> FrameMean:
    torch.manual_seed(0)
    model = FrameMeanConfig(hidden=(12, 10)).build(WIDTHS, CLASSES, T)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    model(torch.randn(32, T, 24))  # moves the batch statistics
    return model.eval()


def windows() -> torch.Tensor:
    return torch.randn(3, T, 24)


def test_scores_against_numpy() -> None:
    model, x = frame_mean(), windows()
    weights = {name: array.double().numpy() for name, array in model.state_dict().items()}
    frames = x.double().numpy()
    hidden = (frames / np.linalg.norm(frames, axis=-1, keepdims=True)).mean(1)
    for linear, norm in (("hidden.0", "hidden.1"), ("hidden.3", "hidden.4")):
        hidden = hidden @ weights[f"{linear}.weight"].T
        hidden = (hidden - weights[f"{norm}.running_mean"]) / np.sqrt(weights[f"{norm}.running_var"] + 1e-3)
        hidden = hidden * weights[f"{norm}.weight"] + weights[f"{norm}.bias"]
        hidden = hidden / (1 + np.exp(-hidden))  # swish
    logits = hidden @ weights["head.linear.weight"].T + weights["head.linear.bias"]
    np.testing.assert_allclose(model(x).detach().numpy(), 1 / (1 + np.exp(-logits)), atol=1e-5)


def test_weight_is_repetition_and_rows_of_zeros_are_no_frames() -> None:
    model, x = frame_mean(), windows()
    repeated = torch.cat([x, x[:, :1]], dim=1)
    torch.testing.assert_close(model(x, torch.tensor([[2.0, 1, 1, 1]]).expand(3, -1)), model(repeated))
    absent = x.clone()
    absent[:, 3] = 0
    torch.testing.assert_close(model(absent), model(x[:, :3]))
    assert (model(absent) - model(x)).abs().max() > 1e-4
    assert model(torch.zeros_like(x)).isfinite().all()


def test_a_weighted_mean_by_hand() -> None:
    frames = torch.tensor([[[1.0, 2.0], [4.0, 8.0]], [[1.0, 1.0], [3.0, 3.0]]])
    assert weighted_mean(frames, torch.tensor([[2.0, 1.0], [0.0, 0.0]])).tolist() == [[2, 4], [0, 0]]


def test_the_21st_place_s_size() -> None:
    with torch.device("meta"):
        model = FrameMeanConfig().build({"rgb": 1024, "audio": 128}, 1000, window=5)
    layers = 1152 * 2765 + 2 * 2765 + 2765 * 1662 + 2 * 1662 + 1662 * 1000 + 1000  # batch norms have scale and bias
    assert sum(parameter.numel() for parameter in model.parameters()) == layers


@pytest.mark.parametrize("hidden", [(), (3, 0)])
def test_a_width_is_at_least_1(hidden: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="give one or more widths of at least 1"):
        FrameMeanConfig(hidden=hidden)
