"""Models of code: each predicts with the code that it was logged with."""

import numpy as np
import pytest

from tracking import code_models
from tracking.code_models import CodeModel, code_package
from tracking.models import load_code_model, log_model
from tracking.writing import open_run

SERVING = """
from training.factor import FACTOR


class VideoModel:
    def __init__(self, folder, checkpoints):
        self.offset = float((folder / "offset").read_text())
        assert not checkpoints

    def predict(self, windows):
        from training.factor import FACTOR as again

        assert again == FACTOR
        return windows.sum(axis=(1, 2))[:, None] * FACTOR + self.offset
"""


def test_two_models_of_different_code_do_not_disturb_each_other(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    windows, uris, packages = np.ones((2, 3, 4), dtype=np.float32), [], []
    for factor in (2, 3):
        sources = {"__init__.py": "", "training/__init__.py": "", "training/serving.py": SERVING}
        sources["training/factor.py"] = f"FACTOR = {factor}\n"
        monkeypatch.setattr(code_models, "_sources", lambda sources=sources: sources)
        packages.append(code_package())
        model = CodeModel(
            module="training.serving", factory="VideoModel", files={"offset": "0.5"}, frameworks=(), example=windows
        )
        with open_run("synthetic", "finetune", {}) as run:
            uris.append(log_model(run, "boosted", "code", model, None, {}, {}))
    assert len(set(packages)) == 2
    first, second = map(load_code_model, uris)
    for _ in range(2):
        assert first.predict(windows).tolist() == [[24.5], [24.5]]
        assert second.predict(windows).tolist() == [[36.5], [36.5]]


def test_equal_code_has_one_name_and_its_imports_are_its_own() -> None:
    assert code_package() == code_package()
    text = "import re\nfrom files import x\n    from scoring.lists import y\nfrom filesystem import z\n"
    assert code_models.IMPORT.sub(r"\1copy.", text).splitlines() == [
        "import re",
        "from copy.files import x",
        "    from copy.scoring.lists import y",
        "from filesystem import z",
    ]
    plain = [name for name, source in code_models._sources().items() if "\nimport training" in source]
    assert plain == []  # `import a.b` cannot be renamed: the code says `from a import b`
