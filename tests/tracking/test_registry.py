"""Registered models: their versions, and the alias `best` of the first."""

import pytest

from tests.tracking.test_models import Attention, features
from tracking.models import log_model
from tracking.registry import Registered, address, best_version, move_best, registered_name, version_of_run, versions
from tracking.store import client
from tracking.writing import Run, open_run

NAME = registered_name("tiny", "demo", "bert")
BERT = Registered(name=NAME, about="A member.", note="Fine-tuned.", tags={"member": "bert"})


def log(run: Run) -> str:
    return log_model(run, "bert", "torch", Attention(), features(), {}, {}, {"finetune/map": 0.5}, BERT)


def test_a_version_has_its_run_and_the_first_is_the_best(store: str) -> None:
    assert versions(NAME) == []
    assert best_version(NAME) is None
    with pytest.raises(ValueError, match="there is no registered model x; there is none; fuse a line-up first"):
        address("x")
    with open_run("tiny", "finetune", {}) as first:
        uri = log(first)
        assert log(first) == uri  # sent again after an answer that was lost
    with open_run("tiny", "finetune", {}) as second:
        log(second)
    assert [version.number for version in versions(NAME)] == ["2", "1"]
    newest, oldest = versions(NAME)
    assert (newest.run_id, oldest.run_id, oldest.tags) == (second.run_id, first.run_id, {"member": "bert"})
    assert version_of_run(NAME, second.run_id) == newest
    assert best_version(NAME) == oldest
    logged = client().get_logged_model(uri.removeprefix("models:/"))
    assert client().get_model_version(NAME, "1").source == logged.artifact_location
    assert '"version": 1' in logged.tags["mlflow.modelVersions"]  # by which the UI links the two
    assert client().get_registered_model(NAME).description == "A member."
    move_best(NAME, "2")
    assert best_version(NAME) == newest
    assert address(NAME) == f"models:/{NAME}@best"
    assert address(f"{NAME}/1") == oldest.uri
    with pytest.raises(ValueError, match=f"there are {NAME}"):
        address("y")
    assert [(metric.key, metric.value) for metric in logged.metrics or []] == [("finetune/map", 0.5)]


def test_names_have_what_mlflow_allows() -> None:
    assert registered_name("a/b", "demo", "c:d'e") == "a-b.demo.c-d-e"
