"""Models that consist of this project's code and of data files: MLflow's "models from code", without a pickle.

Such a model has its own copy of the code, as a package whose name is a digest of its content. So it predicts alike when
the code here has changed, models of different code are used side by side in one process, and neither is confused with
an installed version.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from mlflow.models import ModelSignature

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("files", "terminal", "tracking", "videos", "scoring", "training")
# What the code imports besides a framework.
NEEDED = ("numpy", "polars", "pandas", "pyarrow", "numba", "scipy", "safetensors", "joblib", "filelock", "psutil")
NEEDED += ("tyro", "rich")
IMPORT = re.compile(rf"^(\s*from )(?=(?:{'|'.join(PACKAGES)})[. ])", re.MULTILINE)

# The installed package behind a framework of members; a framework that is not named here needs none of its own.
FRAMEWORKS = {"torch": "torch", "keras": "tensorflow", "lightgbm": "lightgbm"}

# The file that MLflow runs to load a model. `runs.json` names the runs with the members' weights.
SCRIPT = """\
import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.artifacts import download_artifacts
from mlflow.models import set_model


class Model(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        # Not above: MLflow also runs this file when it saves the model, and has no copy of the code then.
        from {package}.{module} import {factory}

        folder = Path(context.artifacts["files"])
        runs = json.loads((folder / "runs.json").read_text())
        addresses = {{name: f"{{mlflow.get_run(run).info.artifact_uri}}/checkpoint" for name, run in runs.items()}}
        weights = {{name: Path(download_artifacts(artifact_uri=uri)) for name, uri in addresses.items()}}
        self.model = {factory}(folder, weights)

    def predict(self, context, model_input: {hint}, params=None):
        return self.model.predict(model_input)


set_model(Model())
"""


@dataclass(frozen=True, kw_only=True)
class CodeModel:
    """A model to log: `factory`, a class of the module `module` of this project, made of data files.

    It is called with the folder of the `files` (copies, by name) and a folder of weights per name in `runs`, the
    artifact `checkpoint` of that run. Files named `unused` are left out. It needs the `frameworks`. Its method
    `predict` takes windows of frames like `example`; or, if `example` is the bytes of a video's frames, a table of
    videos, and returns a table of ranks.
    """

    module: str
    factory: str
    files: Mapping[str, Path | str]  # a file or folder, or a text
    frameworks: Collection[str]
    example: "np.ndarray | bytes"
    runs: Mapping[str, str] = field(default_factory=dict)
    unused: str = ""

    def save(self, path: Path, scratch: Path) -> None:
        """Save it as an MLflow model in `path`; `scratch` is an empty folder."""
        import pandas as pd
        from mlflow.models import Model
        from mlflow.pyfunc import save_model  # pyright: ignore[reportPrivateImportUsage]

        is_videos = isinstance(self.example, bytes)
        example = pd.DataFrame({"video_id": ["video"], "frames": [self.example]}) if is_videos else self.example
        files = scratch / "files"
        files.mkdir()
        for name, content in {**self.files, "runs.json": json.dumps(dict(self.runs))}.items():
            if isinstance(content, str):
                (files / name).write_text(content)
            elif content.is_dir():
                shutil.copytree(content, files / name, ignore=shutil.ignore_patterns(self.unused))
            else:
                shutil.copyfile(content, files / name)
        package = code_package()
        for name, text in _sources().items():
            target = scratch / "code" / package / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(IMPORT.sub(rf"\1{package}.", text))
        script, hint = scratch / "model.py", "pd.DataFrame" if is_videos else "np.ndarray"
        script.write_text(SCRIPT.format(package=package, module=self.module, factory=self.factory, hint=hint))
        save_model(
            str(path),
            python_model=str(script),
            code_paths=[str(scratch / "code" / package)],
            artifacts={"files": str(files)},
            mlflow_model=Model(),
            signature=self._signature(),
            input_example=example,
            pip_requirements=pinned(
                *NEEDED, *(package for name, package in FRAMEWORKS.items() if name in self.frameworks)
            ),
        )

    def _signature(self) -> "ModelSignature":
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, DataType, Schema, TensorSpec

        if not isinstance(self.example, bytes):
            windows = TensorSpec(self.example.dtype, (-1, *self.example.shape[1:]))
            return ModelSignature(Schema([windows]), Schema([TensorSpec(self.example.dtype, (-1, -1))]))
        videos = {"video_id": DataType.string, "frames": DataType.binary}
        ranks = {"segment_id": DataType.string, "class_id": DataType.long, "rank": DataType.long}
        ranks["score"] = DataType.double
        inputs, outputs = (Schema([ColSpec(kind, name) for name, kind in table.items()]) for table in (videos, ranks))
        return ModelSignature(inputs, outputs)


def code_package() -> str:
    """The name of the copy of this code: equal code has the same name."""
    return f"project_{hashlib.sha256(json.dumps(_sources()).encode()).hexdigest()[:16]}"


@cache
def _sources() -> dict[str, str]:
    """The text of each file of the code, by its path."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {"__init__.py": "", **{path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}}


def pinned(*packages: str) -> list[str]:
    """The installed versions of packages as requirements."""
    # Package indexes do not have local versions such as "2.13.0+cpu".
    return [f"{package}=={version(package).partition('+')[0]}" for package in packages]
