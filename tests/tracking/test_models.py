from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tracking.models import load_model, log_model
from tracking.store import client, experiment_id
from tracking.writing import open_run

BATCH, FRAMES, WIDTH, CLASSES = 3, 5, 8, 4


class Attention(nn.Module):
    """A member in small: (B, T, D) -> (B, C), with dropout, attention and the optional second argument."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(WIDTH, 3 * WIDTH)
        self.drop = nn.Dropout(0.5)
        self.classify = nn.Linear(WIDTH, CLASSES)

    def forward(self, features: Tensor, frame_weights: Tensor | None = None) -> Tensor:
        if frame_weights is None:
            frame_weights = features.new_ones(features.shape[:2])
        query, key, value = self.project(nn.functional.normalize(features, dim=-1)).chunk(3, dim=-1)
        mixed = self.drop((query @ key.transpose(1, 2)).softmax(-1)) @ value * frame_weights.unsqueeze(-1)
        return self.classify(mixed.mean(1)).sigmoid()


def features(count: int = BATCH, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, FRAMES, WIDTH)).astype(np.float32)


def test_a_torch_module_comes_back_with_identical_scores(store: str) -> None:
    torch.manual_seed(0)
    module = Attention().train()
    with open_run("synthetic", "finetune", {"stage": "finetune"}) as run:
        uri = log_model(run, "bert", "torch", module, features(), {"layers": 2}, {"member": "bert"})
    assert module.training, "logging must not switch dropout off for the steps that follow"
    loaded = load_model(uri)
    module.eval()
    with torch.no_grad():
        for count in (1, 3, 7):  # the number of rows stays free
            rows = torch.from_numpy(features(count, seed=1))
            assert torch.equal(loaded(rows), module(rows))
            assert torch.equal(loaded(rows), loaded(rows)), "dropout must be off in the logged model"


def test_a_keras_model_comes_back_with_identical_scores(store: str) -> None:
    import keras

    keras.utils.set_random_seed(0)
    rows = keras.Input((FRAMES, WIDTH))
    pooled = keras.layers.GlobalAveragePooling1D()(keras.layers.Dropout(0.5)(rows))
    model = keras.Model(rows, keras.layers.Dense(CLASSES, "sigmoid")(pooled))
    with open_run("synthetic", "finetune", {}) as run:
        uri = log_model(run, "netvlad", "keras", model, features(), {}, {})
    assert np.array_equal(load_model(uri)(features(7, seed=1)), model(features(7, seed=1)))


def test_a_model_says_what_it_is_and_where_it_comes_from(store: str) -> None:
    with open_run("synthetic", "finetune", {}) as run:
        uri = log_model(
            run,
            "bert",
            "torch",
            Attention(),
            features(),
            params={"layers": 2},
            tags={"member": "bert", "lineup": "demo"},
            metrics={"map": 0.75},
        )
    model = client().get_logged_model(uri.removeprefix("models:/"))
    assert (model.name, model.status, model.source_run_id) == ("bert", "READY", run.run_id)
    assert model.params == {"layers": "2"}
    assert {"framework": "torch", "member": "bert", "lineup": "demo"}.items() <= model.tags.items()
    assert [(metric.key, metric.value) for metric in model.metrics or []] == [("map", 0.75)]
    outputs = client().get_run(run.run_id).outputs
    assert outputs is not None
    (output,) = outputs.model_outputs
    assert output.model_id == model.model_id


def test_a_model_is_complete_and_needs_no_pickle(store: str) -> None:
    from mlflow.models import get_model_info

    with open_run("synthetic", "finetune", {}) as run:
        uri = log_model(run, "bert", "torch", Attention(), features(), {}, {})
    load_model(uri)
    info = get_model_info(uri)
    assert info.signature is not None
    assert [tuple(spec.shape) for spec in info.signature.inputs] == [(-1, FRAMES, WIDTH)]  # pyright: ignore
    assert info.saved_input_example_info is not None
    assert info.run_id == run.run_id
    folder = Path(client().get_logged_model(info.model_id).artifact_location.removeprefix("file://"))
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {"model.pt2", "requirements.txt", "input_example.json"} <= names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pth"))]
    requirements = (folder / "requirements.txt").read_text().split()
    assert f"torch=={torch.__version__.partition('+')[0]}" in requirements


def test_one_row_is_no_example(store: str) -> None:
    with open_run("synthetic", "finetune", {}) as run, pytest.raises(ValueError, match="give at least two"):
        log_model(run, "bert", "torch", Attention(), features(1), {}, {})


def test_a_model_that_cannot_be_saved_leaves_nothing(store: str) -> None:
    class Unexportable(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            return rows if rows.sum().item() > 0 else -rows  # a choice by value has no graph

    with open_run("synthetic", "finetune", {}) as run, pytest.raises(Exception, match=r"(?i)data.dependent"):
        log_model(run, "odd", "torch", Unexportable(), features(), {}, {})
    assert client().search_logged_models([experiment_id("synthetic")]) == []
