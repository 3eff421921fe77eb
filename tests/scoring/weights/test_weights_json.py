import json

import pytest

from scoring.weights.weights_json import Measured, Weights, read_weights


def test_round_trip(tmp_path):
    measured = Measured(0.8, 100_000, "strict", 0.79, 0.75, 60, 0)
    weights = Weights(5.06, {"a": 0.1 + 0.2, "b": 0.7}, measured, (0.7, 0.9), {"a": "run-1", "b": "run-2"})
    weights.write(tmp_path / "folder" / "weights.json")
    assert read_weights(tmp_path / "folder" / "weights.json") == weights
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["weights.json"]


def test_written_by_hand(tmp_path):
    path = tmp_path / "weights.json"
    path.write_text('{"k": 5, "weights": {"a": 1, "b": 2.5}}')
    assert read_weights(path) == Weights(5.0, {"a": 1, "b": 2.5})


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "is not JSON"),
        ("[1]", "has no weights"),
        ({"weights": {}}, "has no weights"),
        ({"weights": {"a": 1}}, "k is None"),
        ({"k": "5", "weights": {"a": 1}}, "k is '5'"),
        ({"k": 5, "weights": {"a": None}}, "a is None"),
        ({"k": 5, "weights": {"a": float("nan")}}, "a is nan"),
        ({"k": 5, "weights": {"a": True}}, "a is True"),
        ({"k": 5, "weights": {"a": 1}, "objective": {"map": 1}}, "objective or interval"),
        ({"k": 5, "weights": {"a": 1}, "interval": [0.5]}, "objective or interval"),
    ],
)
def test_faults_are_refused_with_the_reason(content, complaint, tmp_path):
    path = tmp_path / "weights.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=complaint) as refused:
        read_weights(path)
    assert str(path) in str(refused.value)
