"""Log and load models, each in a format of its framework that needs no pickle."""

import copy
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from tracking.code_models import CodeModel, pinned
from tracking.registry import Registered
from tracking.saved_files import check_model, drop_examples
from tracking.store import client, quieten, tracking_uri
from tracking.writing import Run

if TYPE_CHECKING:
    import torch

Framework = Literal["torch", "keras", "code"]


def log_model(
    run: Run,
    name: str,
    framework: Framework,
    model: object,
    example: np.ndarray | None,
    params: Mapping[str, object],
    tags: Mapping[str, str],
    metrics: Mapping[str, float] | None = None,
    registered: Registered | None = None,
) -> str:
    """Log a trained model with its signature, input example and requirements, linked to `run`.

    Returns its URI, or an empty string if the server is away and receives it later.

    Args:
        run: The run that trained it.
        name: Its name in the Models tab of the MLflow UI.
        framework: Determines the format: for torch a `pt2` graph (eval mode, CPU), for keras a v3 `.keras` file, for
            code a `CodeModel`.
        model: A torch module called as `module(features)`, a Keras model, or a `CodeModel`.
        example: An input, float32, at least two rows: torch exports a graph with a fixed batch size if given one row.
            A `CodeModel` has its own.
        params: Its hyper-parameters.
        tags: Its identity (member, line-up, ...).
        metrics: Its metrics, also logged to `run`.
        registered: The version of a registered model that it becomes; None if it is none.
    """
    quieten()
    with tempfile.TemporaryDirectory() as folder:
        path, scratch = Path(folder) / "model", Path(folder) / "scratch"
        scratch.mkdir()
        if isinstance(model, CodeModel):
            model.save(path, scratch)
        else:
            _save(framework, model, name, example, path)
        uri = run.write(
            "model",
            path=str(path),
            name=name,
            params={key: str(value) for key, value in params.items()},
            tags={"framework": framework, **tags},
            metrics=dict(metrics or {}),
            registered=registered and asdict(registered),
        )
    return uri or ""


def _save(framework: Framework, model: object, name: str, example: np.ndarray | None, path: Path) -> None:
    from mlflow.models import Model
    from mlflow.models.signature import infer_signature

    if example is None or len(example) < 2:
        rows = 0 if example is None else len(example)
        raise ValueError(f"the input example of {name} has {rows} row(s); give at least two")
    flavor, requirements, keywords = _flavor(framework)
    if framework == "torch":
        # The exported graph keeps the mode (dropout!) and the device of the module.
        model = copy.deepcopy(cast("torch.nn.Module", model)).cpu().eval()
    flavor.save_model(
        model,
        path=str(path),
        mlflow_model=Model(),
        signature=infer_signature(example, _scores(framework, model, example)),
        input_example=example,
        pip_requirements=requirements,
        **keywords,
    )
    if framework == "torch":
        drop_examples(path / "data" / "model.pt2")


def load_code_model(uri: str) -> Any:
    """The object of the factory of the `CodeModel` at `uri` (`models:/...`). Loading it runs the code that it has."""
    quieten()
    from mlflow import set_tracking_uri
    from mlflow.pyfunc import load_model  # pyright: ignore[reportPrivateImportUsage]

    set_tracking_uri(tracking_uri())
    client()
    return load_model(uri).unwrap_python_model().model


def load_model(uri: str) -> Any:
    """The model at `uri` (`models:/...`): a torch module or a Keras model.

    A torch module cannot be trained further. ValueError if a file of the model could run code when it is loaded
    (`tracking.saved_files`).
    """
    quieten()
    from mlflow import set_tracking_uri
    from mlflow.artifacts import download_artifacts
    from mlflow.models import get_model_info

    set_tracking_uri(tracking_uri())  # MLflow's loaders use the process-wide URI, not a client's
    client()
    folder = Path(download_artifacts(uri))  # in place where the store is on this machine
    check_model(folder)
    flavors = get_model_info(str(folder)).flavors
    for name, framework in (("pytorch", "torch"), ("tensorflow", "keras")):
        if name in flavors:
            return _flavor(framework)[0].load_model(str(folder))
    raise ValueError(f"{uri} has neither of the formats torch and keras, but {', '.join(flavors)}; log it again")


def _flavor(framework: str) -> tuple[ModuleType, list[str], dict[str, str]]:
    """MLflow's module for a framework, the requirements of its models, and further arguments of `save_model`.

    Without requirements MLflow would infer them by loading the model in another process.
    """
    if framework == "torch":
        from mlflow import pytorch  # pyright: ignore[reportAttributeAccessIssue]

        return pytorch, pinned("torch", "numpy"), {"serialization_format": "pt2"}
    if framework == "keras":
        from mlflow import tensorflow  # pyright: ignore[reportAttributeAccessIssue]

        return tensorflow, pinned("tensorflow", "keras", "numpy"), {}
    raise ValueError(f"models of {framework} cannot be logged; choose torch or keras")


def _scores(framework: Framework, model: Any, example: np.ndarray) -> np.ndarray:
    if framework == "torch":
        import torch

        with torch.no_grad():
            return model(torch.from_numpy(example)).numpy()
    return np.asarray(model(example, training=False))
