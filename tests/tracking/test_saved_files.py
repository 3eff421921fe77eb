"""No logged model has a pickle, and one that somebody has put into a file is not loaded."""

import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from tests.tracking.test_models import Attention, features
from tracking.models import load_model, log_model
from tracking.saved_files import check_model, drop_examples
from tracking.store import client
from tracking.writing import open_run


@pytest.fixture
def logged(store: str) -> tuple[str, Path]:
    """The address of a logged torch model, and its archive."""
    with open_run("synthetic", "finetune", {}) as run:
        uri = log_model(run, "bert", "torch", Attention(), features(), {}, {})
    folder = client().get_logged_model(uri.removeprefix("models:/")).artifact_location.removeprefix("file://")
    return uri, Path(folder) / "data" / "model.pt2"


class Crafted:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def rewrite(archive: Path, change) -> None:
    """Replace the records of a zip archive by `change(name, content)`, a list of (name, content)."""
    with zipfile.ZipFile(archive) as opened:
        records = [pair for name in opened.namelist() for pair in change(name, opened.read(name))]
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as opened:
        for name, content in records:
            opened.writestr(name, content)


def test_without_its_examples_an_archive_is_that_of_a_program_without_any(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    program = torch.export.export(Attention().eval(), (torch.from_numpy(features()),))
    torch.export.save(program, path)
    whole = path.read_bytes()
    drop_examples(path)
    dropped = path.read_bytes()
    assert len(dropped) < len(whole)
    program.example_inputs = None
    torch.export.save(program, path)
    assert dropped == path.read_bytes()


def test_what_is_logged_has_no_pickle_and_one_put_into_it_is_not_run(
    logged: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, archive = logged
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            if "/weights/weight_" not in name:  # raw numbers
                assert not opened.read(name).startswith((b"PK", b"\x80")), name
        root = opened.namelist()[0].partition("/")[0]
    whole, victim = archive.read_bytes(), tmp_path / "run"
    torch.save(Crafted(victim), tmp_path / "crafted")
    crafted = (tmp_path / "crafted").read_bytes()

    def sample(name: str, content: bytes):
        return [(name, crafted if "sample_inputs" in name else content)]

    def weight(name: str, content: bytes):
        if name.endswith("weights_config.json"):
            entries = json.loads(content)
            next(iter(entries["config"].values()))["use_pickle"] = True
            return [(name, json.dumps(entries).encode())]
        return [(name, crafted if name.endswith("/weight_0") else content)]

    def legacy(name: str, content: bytes):
        return [(name, content), (f"{root}/serialized_state_dict.pt", crafted)] if name.endswith("byteorder") else []

    for change, reason in ((sample, "the pickle data/sample_inputs"), (weight, "the pickle weight_"), (legacy, "rec")):
        archive.write_bytes(whole)
        rewrite(archive, change)
        with pytest.raises(ValueError, match=f"model.pt2 is not loaded: it has .*{reason}.*--force"):
            load_model(uri)
    archive.write_bytes(pickle.dumps(Crafted(victim)))
    with pytest.raises(ValueError, match="an archive of another format"):
        load_model(uri)
    archive.write_bytes(whole)
    (archive.parent / "custom_objects.cloudpickle").write_bytes(pickle.dumps(Crafted(victim)))
    with pytest.raises(ValueError, match=r"custom_objects\.cloudpickle is not loaded: it has a file that no model"):
        load_model(uri)
    assert not victim.exists()
    (archive.parent / "custom_objects.cloudpickle").unlink()
    load_model(uri)
    check_model(archive.parents[1])
