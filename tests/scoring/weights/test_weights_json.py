import json
from dataclasses import asdict

import pytest

from scoring.weights.weights_json import Measured, Weights, read_weights

OBJECTIVE = asdict(Measured(0.8, 100_000, "strict", 0.79, 0.75, 60, 0))


def test_the_cutoff_of_earlier_files_is_read(tmp_path):
    path = tmp_path / "weights.json"
    earlier = {("k_at" if name == "cutoff" else name): value for name, value in OBJECTIVE.items()}
    path.write_text(json.dumps({"k": 5, "weights": {"a": 1}, "objective": earlier}))
    assert read_weights(path).objective == Measured(**OBJECTIVE)


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
        ({"k": 5, "weights": {"a": 1}, "objective": {**OBJECTIVE, "shrink": 0.3}}, "--shrink is 0.3"),
        ({"k": 5, "weights": {"a": 1}, "objective": {**OBJECTIVE, "shrink": None}}, "shrink is None"),
        ({"k": 5, "weights": {"a": 1}, "objective": {**OBJECTIVE, "seed": -1}}, "--seed is -1"),
        ({"k": 5, "weights": {"a": 1}, "objective": {**OBJECTIVE, "seed": 0.5}}, "seed is 0.5, which is no integer"),
        ({"k": 5, "weights": {"a": 1}, "objective": {**OBJECTIVE, "mode": "lax"}}, "mode is 'lax'"),
        ({"k": 5, "weights": {"a": 1}, "objective": {**OBJECTIVE, "cutoff": 0}}, "cutoff is 0"),
        ({"k": 5, "weights": {"a": 1}, "objective": {**OBJECTIVE, "map": "high"}}, "map is 'high'"),
    ],
)
def test_faults_are_refused_with_the_reason(content, complaint, tmp_path):
    path = tmp_path / "weights.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=complaint) as refused:
        read_weights(path)
    assert str(path) in str(refused.value)
