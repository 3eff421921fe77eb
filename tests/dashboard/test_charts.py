import polars as pl
import pytest

from dashboard import charts, data


@pytest.fixture
def line_up(seeded: str) -> data.LineUp:
    return data.line_up("synthetic", "demo")


def layers(chart: charts.Chart) -> list[dict]:
    """The layers of a finished chart; an encoding of a column that is not there fails on the way."""
    return chart.to_dict()["layer"]


def test_stages_differ_in_shape_as_well_as_in_colour(line_up: data.LineUp) -> None:
    _, points = layers(charts.stages(data.stage_scores(line_up)))
    for channel in ("color", "shape"):
        scale = points["encoding"][channel]["scale"]
        assert scale["domain"] == ["Pre-trained", "Fine-tuned", "Shifts merged"]
        assert len(set(scale["range"])) == 3


def test_shifts_stand_in_their_order_with_the_merged_last(line_up: data.LineUp) -> None:
    cells, numbers = layers(charts.shifts(data.shift_scores(line_up)))
    assert cells["encoding"]["x"]["sort"] == ["−2", "−1", "0", "+1", "merged"]
    low, middle, high = cells["encoding"]["color"]["scale"]["domain"]
    assert (-low, middle) == (high, 0)
    assert numbers["encoding"]["text"]["format"] == ".4f"


def test_a_framework_keeps_its_colour_and_an_absent_one_is_not_in_the_legend(line_up: data.LineUp) -> None:
    shares = data.weight_shares(line_up)
    scale = layers(charts.weights(shares))[0]["encoding"]["color"]["scale"]
    assert scale["domain"] == ["PyTorch", "TensorFlow", "LightGBM"]
    fewer = layers(charts.weights(shares.filter(pl.col("framework") != "TensorFlow")))[0]["encoding"]["color"]["scale"]
    assert fewer["domain"] == ["PyTorch", "LightGBM"]
    assert fewer["range"] == [scale["range"][0], scale["range"][2]]


def test_bars_start_at_zero_and_points_need_not(line_up: data.LineUp) -> None:
    assert line_up.ensemble is not None
    bars = layers(charts.weights(data.weight_shares(line_up)))[0]["encoding"]["x"]["scale"]["domain"]
    assert bars[0] == 0
    assert bars[1] > 0.47
    low, high = layers(charts.comparison(data.comparison(line_up.ensemble)))[1]["encoding"]["x"]["scale"]["domain"]
    assert 0 < low < 0.6871
    assert 0.7441 < high < 1


def test_whole_and_cross_validated_figures_differ_in_shape(line_up: data.LineUp) -> None:
    assert line_up.ensemble is not None
    _, points = layers(charts.comparison(data.comparison(line_up.ensemble)))
    assert points["encoding"]["shape"]["scale"]["range"] == ["circle", "diamond"]


def test_the_search_is_drawn_with_and_without_equal_weights(line_up: data.LineUp) -> None:
    assert line_up.ensemble is not None
    assert len(layers(charts.search(line_up.ensemble.trials, 0.7065))) == 4
    best, tried = layers(charts.search(line_up.ensemble.trials, None))
    assert best["encoding"]["y"]["field"] == "best"
    assert tried["encoding"]["color"]["scale"]["domain"] == ["starting guess", "proposal", "polish"]


def test_one_value_is_enough_for_a_chart() -> None:
    one = pl.DataFrame({"member": ["a"], "stage": ["Fine-tuned"], "map": [1.0]})
    low, high = layers(charts.stages(one))[0]["encoding"]["x"]["scale"]["domain"]
    assert low < high == 1.0


def test_a_member_has_one_colour_in_whatever_order_the_members_are_named() -> None:
    names = [f"member{number}" for number in range(12)]
    colours = charts.member_colours(names)
    assert charts.member_colours(reversed(names)) == colours
    assert len(set(colours.values())) == 12
    assert charts.member_colours([*names, "z"])["z"] in colours.values()
