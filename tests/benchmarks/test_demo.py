"""The effects of the demo's stages: their arithmetic, and that the committed ones are of today's world and line-up."""

import re

import pytest

from benchmarks.demo import TARGET, Effect, World, effects, report
from tracking import metrics
from training.members import line_up
from videos.sources import synthetic


def world(seed: int, merged: float) -> World:
    ensemble = {metrics.weight("net"): 0.25, metrics.weight("trees"): 0.75}
    for name in (metrics.map_of, metrics.cross_validated):
        ensemble |= {name(metrics.ENSEMBLE): 0.8, name(metrics.EQUAL_WEIGHTS): 0.79, name(metrics.BEST_MEMBER): 0.75}
    net = {metrics.PRETRAINED: 0.5, metrics.FINETUNED: 0.6, metrics.shift(0): 0.6, metrics.MERGED: merged}
    return World(seed, {"net": net, "trees": {metrics.shift(0): 0.75, metrics.MERGED: 0.75}}, ensemble, 3000, 60.0)


def test_effects_are_differences_of_map_with_students_interval():
    tuned, shifted, fused, weighted = effects([world(0, 0.61), world(1, 0.63)])
    assert tuned.differences == pytest.approx([0.1, 0.1])
    assert shifted.differences == pytest.approx([0.01, 0.03])
    assert fused.differences == pytest.approx([0.05, 0.05])
    assert weighted.differences == pytest.approx([0.01, 0.01])
    # Student's t with one degree of freedom is 12.706; the standard error of 0.01 and 0.03 is 0.01.
    assert shifted.half_width == pytest.approx(0.12706, rel=1e-4)
    assert (shifted.mean, shifted.earns) == (pytest.approx(0.02), False)
    assert Effect("", [0.1, 0.1001]).earns


def test_the_report_has_every_effect_and_world():
    text = "\n".join(report([world(0, 0.61), world(1, 0.63)], "abc"))
    assert "| shifts of net, merged over shift 0 | +0.0200 | -0.1071 to +0.1471 | +0.0100 | no |" in text
    assert "| 1 | 0.6300, 0.250 | 0.7500, 0.750 | 0.8000 | 0.8000 | 0.7500 | 0.7900 | 60 |" in text


def test_the_committed_effects_are_of_this_world_and_line_up_and_above_0():
    """Five worlds take a quarter of an hour, so CI reads what `python -m benchmarks.demo --seeds 5` has written."""
    text = TARGET.read_text()
    assert "--seeds 5`" in text
    assert f"version {synthetic.VERSION}," in text
    neural = [member.name for member in line_up("demo") if member.pretrain]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]
    shown = {row[0]: row[-1] for row in rows if len(row) == 5}
    for name in neural:
        assert shown[f"fine-tuning {name}, over pre-training alone"] == "yes"
        assert shown[f"shifts of {name}, merged over shift 0"] == "yes"
    assert shown["fusion, over the best member"] == "yes"
    assert shown["weights, over equal ones"] == "yes"
    (pairs,) = re.findall(r"Judged pairs there: ([\d,]+)", text)
    assert int(pairs.replace(",", "")) >= 3000
    worlds = [row for row in rows if row[0].isdigit()]
    assert len(worlds) == 5
    for row in worlds:
        maps = [float(cell.split(",")[0]) for cell in row[1:-1]]
        assert all(0.4 < value < 0.9 for value in maps)
