"""Log and load models, each in a format of its framework that needs no pickle."""

import copy
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from tracking.store import client, quieten, tracking_uri
from tracking.writing import Run

if TYPE_CHECKING:
    import torch

Framework = Literal["torch", "keras", "lightgbm"]


def log_model(
    run: Run,
    name: str,
    framework: Framework,
    model: object,
    example: np.ndarray,
    params: Mapping[str, object],
    tags: Mapping[str, str],
    metrics: Mapping[str, float] | None = None,
) -> str:
    """Log a trained model with its signature, input example and requirements, linked to `run`.

    Returns its URI, or an empty string if the server is away and receives it later.

    Args:
        run: The run that trained it.
        name: Its name in the Models tab of the MLflow UI.
        framework: Determines the format: for torch a `pt2` graph (eval mode, CPU), for keras a v3 `.keras` file, for
            lightgbm its text format.
        model: A torch module called as `module(features)`, a Keras model, or a LightGBM booster.
        example: An input, float32, at least two rows: torch exports a graph with a fixed batch size if given one row.
        params: Its hyper-parameters.
        tags: Its identity (member, line-up, ...).
        metrics: Its metrics, also logged to `run`.
    """
    quieten()
    from mlflow.models import Model
    from mlflow.models.signature import infer_signature

    if len(example) < 2:
        raise ValueError(f"the input example of {name} has {len(example)} row(s); give at least two")
    flavor, requirements, keywords = _flavor(framework)
    if framework == "torch":
        # The exported graph keeps the mode (dropout!) and the device of the module.
        model = copy.deepcopy(cast("torch.nn.Module", model)).cpu().eval()
    outputs = _scores(framework, model, example)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        flavor.save_model(
            model,
            path=str(path),
            mlflow_model=Model(),
            signature=infer_signature(example, outputs),
            input_example=example,
            pip_requirements=requirements,
            **keywords,
        )
        uri = run.write(
            "model",
            path=str(path),
            name=name,
            params={key: str(value) for key, value in params.items()},
            tags={"framework": framework, **tags},
            metrics=dict(metrics or {}),
        )
    return uri or ""


def load_model(uri: str) -> Any:
    """The model at `uri` (`models:/...`): a torch module, a Keras model or a LightGBM booster.

    A torch module takes features only and cannot be trained further. Import custom Keras layers first, which
    registers them.
    """
    quieten()
    from mlflow import set_tracking_uri
    from mlflow.models import get_model_info

    set_tracking_uri(tracking_uri())  # MLflow's loaders use the process-wide URI, not a client's
    client()
    flavors = get_model_info(uri).flavors
    for name, framework in (("pytorch", "torch"), ("tensorflow", "keras"), ("lightgbm", "lightgbm")):
        if name in flavors:
            return _flavor(framework)[0].load_model(uri)
    raise ValueError(f"{uri} has none of the formats torch, keras or lightgbm, but {', '.join(flavors)}; log it again")


def _flavor(framework: str) -> tuple[ModuleType, list[str], dict[str, str]]:
    """MLflow's module for a framework, the requirements of its models, and further arguments of `save_model`.

    Without requirements MLflow would infer them by loading the model in another process.
    """
    if framework == "torch":
        from mlflow import pytorch  # pyright: ignore[reportAttributeAccessIssue]

        return pytorch, _pinned("torch", "numpy"), {"serialization_format": "pt2"}
    if framework == "keras":
        from mlflow import tensorflow  # pyright: ignore[reportAttributeAccessIssue]

        return tensorflow, _pinned("tensorflow", "keras", "numpy"), {}
    if framework == "lightgbm":
        from mlflow import lightgbm  # pyright: ignore[reportAttributeAccessIssue]

        return lightgbm, _pinned("lightgbm", "numpy", "scipy"), {}
    raise ValueError(f"models of {framework} cannot be logged; choose torch, keras or lightgbm")


def _pinned(*packages: str) -> list[str]:
    # Package indexes do not have local versions such as "2.13.0+cpu".
    return [f"{package}=={version(package).partition('+')[0]}" for package in packages]


def _scores(framework: Framework, model: Any, example: np.ndarray) -> np.ndarray:
    if framework == "torch":
        import torch

        with torch.no_grad():
            return model(torch.from_numpy(example)).numpy()
    if framework == "keras":
        return np.asarray(model(example, training=False))
    return np.asarray(model.predict(example))
