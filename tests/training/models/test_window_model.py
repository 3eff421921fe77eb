"""What every torch model must do, whatever its architecture. A new one joins by one line in MODELS."""

from dataclasses import replace

import pytest
import torch

from training.models.bert import BertConfig
from training.models.bert_cross import BertCrossConfig
from training.models.context_aware import ContextAwareConfig
from training.models.frame_mean import FrameMeanConfig
from training.models.frame_wise import FrameWiseConfig
from training.models.mix_nextvlad import MixNeXtVladConfig
from training.models.window_model import WindowModel

WIDTHS = {"rgb": 16, "audio": 8}
CLASSES, WINDOW = 7, 5

BERT = BertConfig(heads=4, intermediate=32)
CROSS = BertCrossConfig(heads=4, intermediate=32)
MIX = MixNeXtVladConfig(clusters=6, groups=4, hidden=32)
MODELS = {
    "bert concat": BERT,
    "bert first": replace(BERT, pooling="first"),
    "bert last": replace(BERT, pooling="last"),
    "bert mean": replace(BERT, pooling="mean"),
    "cross mean": CROSS,
    "cross attention": replace(CROSS, pooling="attention"),
    "mix": MIX,
    "mix, published code": replace(MIX, gate="frame_means", branch_loss=False),
    "context aware": ContextAwareConfig(surroundings=1, video_frames=2, hidden=16, heads=4, intermediate=32),
    "frame mean": FrameMeanConfig(hidden=(12, 10)),
    "frame wise": FrameWiseConfig(surroundings=1, hidden=16, heads=4, intermediate=32),
}

TRACED = [
    "bert last",
    "cross attention",
    "mix, published code",
    "context aware",
    "frame mean",
    "frame wise",
]  # one a file: tracing takes time


@pytest.fixture(params=MODELS, ids=lambda name: name.replace(" ", "-"))
def model(request) -> WindowModel:
    torch.manual_seed(0)
    return MODELS[request.param].build(WIDTHS, CLASSES, WINDOW).eval()


def windows(batch: int) -> torch.Tensor:
    return torch.randn(batch, WINDOW, 24)


def test_probabilities(model):
    p = model(windows(3))
    assert p.shape == (3, CLASSES)
    assert ((p > 0) & (p < 1)).all()


def test_a_frame_is_encoded_once_however_many_windows_see_it(model):
    video = torch.randn(12, 24)
    index = torch.arange(8)[:, None] + torch.arange(WINDOW)  # every window of the video
    scores = model.score_indexed(model.encode_frames(video), index, torch.ones(index.shape))
    torch.testing.assert_close(scores, model(video[index]), atol=1e-6, rtol=0)


def test_scored_columns_are_those_of_all(model):
    columns = torch.tensor([5, 0, 3])
    narrow, x = model.scored(columns), windows(3)
    torch.testing.assert_close(narrow(x), model(x)[:, columns], atol=1e-6, rtol=0)
    shared = {p.data_ptr() for p in model.parameters()}
    copied = [name for name, p in narrow.named_parameters() if p.data_ptr() not in shared]
    assert copied
    assert all("head" in name for name in copied)
    assert model(x).shape == (3, CLASSES)  # the model itself is as it was


def test_every_parameter_learns(model):
    model.train()
    labels = torch.rand(3, CLASSES).round()
    loss = model.loss(windows(3), None, labels)
    penalty = sum(factor / 2 * parameter.square().sum() for parameter, factor in model.decays())
    (loss + penalty).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    still = {name for name, p in model.named_parameters() if not p.grad.any()}
    assert still <= {name for name in still if name.endswith("key.bias")}  # softmax cancels what all keys share


@pytest.mark.parametrize("model", TRACED, indirect=True)
def test_exports_with_any_number_of_windows(model):
    x = windows(6)
    exported = torch.export.export(model, (windows(2),), dynamic_shapes={"features": {0: torch.export.Dim.DYNAMIC}})
    torch.testing.assert_close(exported.module()(x), model(x), atol=1e-6, rtol=0)


@pytest.mark.parametrize("model", TRACED, indirect=True)
def test_compiles_in_one_piece(model):
    torch.compiler.reset()  # models share `forward`, and one function is compiled a limited number of times
    x, weights = windows(3), torch.ones(3, WINDOW)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, weights), model(x, weights), atol=1e-6, rtol=0)


def test_autocast_keeps_probabilities_in_full_precision(model):
    with torch.autocast("cpu", torch.bfloat16):
        p = model(windows(3))
    assert p.dtype == torch.float32
    assert p.isfinite().all()


@pytest.mark.parametrize(
    ("config", "window", "parameters"),
    [
        (BertConfig(layers=2, heads=12, pooling="concat"), 5, 269_515_118),
        (BertConfig(layers=3, heads=12, pooling="concat"), 5, 281_914_862),
        (BertConfig(layers=2, heads=12, pooling="last"), 5, 73_758_062),
        (BertConfig(layers=2, heads=12, pooling="mean"), 5, 73_758_062),
        (BertCrossConfig(layers=2, heads=8, pooling="mean"), 5, 72_712_558),
        (BertCrossConfig(layers=2, heads=8, pooling="attention"), 5, 72_713_710),
        (MixNeXtVladConfig(), 60, 235_935_273),
        (MixNeXtVladConfig(), 300, 235_935_273),
        (MixNeXtVladConfig(gate="frame_means"), 60, 235_929_813),
        (MixNeXtVladConfig(gate="frame_means"), 300, 235_931_013),
    ],
)
def test_parameters_at_paper_size(config, window, parameters):
    with torch.device("meta"):  # shapes alone, nothing is allocated
        built = config.build({"rgb": 1024, "audio": 128}, 3862, window)
    assert sum(parameter.numel() for parameter in built.parameters()) == parameters
