"""docs/members.md tells the truth: its figures are those of docs/figures.py, its counts those of the models."""

import re
import runpy
from pathlib import Path

from training.models.bert import BertConfig
from training.models.bert_cross import BertCrossConfig
from training.models.frame_mean import FrameMeanConfig
from training.models.frame_wise import FrameWiseConfig
from training.models.mix_nextvlad import MixNeXtVladConfig

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "members.md").read_text()


def test_figures_are_drawn_and_shown(tmp_path):
    runpy.run_path(str(DOCS / "figures.py"))["draw"](tmp_path)
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {path.name for path in (DOCS / "figures").glob("*.svg")}
    assert drawn == set(re.findall(r"\(figures/(\w+\.svg)\)", PAGE))


def test_parameters_in_the_table_are_the_models():
    import torch

    rows = dict(re.findall(r"^\| `([\w-]+)` \|.* ([\d,]+) \| 0\.\d+ \|$", PAGE, re.MULTILINE))
    configs = {
        "bert-l2h12-concat": BertConfig(layers=2, heads=12, pooling="concat"),
        "bert-l3h12-concat": BertConfig(layers=3, heads=12, pooling="concat"),
        "bert-l2h12-first": BertConfig(layers=2, heads=12, pooling="last"),
        "bert-l2h12-mean": BertConfig(layers=2, heads=12, pooling="mean"),
        "bert-cross-l2h8-mean": BertCrossConfig(layers=2, heads=8, pooling="mean"),
        "bert-cross-l2h8-attention": BertCrossConfig(layers=2, heads=8, pooling="attention"),
        "mix-nextvlad-60": MixNeXtVladConfig(),
        "mix-nextvlad-300": MixNeXtVladConfig(),
    }
    assert set(rows) == {*configs, "gated-netvlad"}
    with torch.device("meta"):
        for name, config in configs.items():
            model = config.build({"rgb": 1024, "audio": 128}, 3862, window=5)
            assert f"{sum(p.numel() for p in model.parameters()):,}" == rows[name]
        mlp = FrameMeanConfig().build({"rgb": 1024, "audio": 128}, 3862, window=5)
        assert f"{sum(p.numel() for p in mlp.parameters()):,} parameters" in PAGE
        wise = FrameWiseConfig().build({"rgb": 1024, "audio": 128}, 3862, window=25)
        assert f"{sum(p.numel() for p in wise.parameters()):,} parameters" in PAGE
