"""A GPU that a framework does not see is named with the remedy."""

from pathlib import Path

import pytest

from training.fit import devices
from training.fit.devices import gpus_of_driver, log_device
from training.fit.kinds import kind_of
from training.fit.options import TorchOptions
from training.members import member_of


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What NVIDIA's driver shows of two GPUs."""
    for number, model in enumerate(("NVIDIA H100 80GB HBM3", "Tesla V100")):
        (tmp_path / f"0000:0{number}:00.0").mkdir()
        text = f"Model: \t\t {model}\nIRQ:   \t\t 0\nBus Type: \t PCIe\n"
        (tmp_path / f"0000:0{number}:00.0" / "information").write_text(text)
    monkeypatch.setattr(devices, "DRIVER", tmp_path)
    return tmp_path


def test_the_gpus_of_the_driver_are_those_it_shows(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpus_of_driver() == ["NVIDIA H100 80GB HBM3", "Tesla V100"]
    monkeypatch.setattr(devices, "DRIVER", driver / "missing")
    assert gpus_of_driver() == []


@pytest.mark.usefixtures("driver")
def test_a_gpu_that_is_not_seen_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    log_device("gated-netvlad pretrain", "Keras", "CPU", is_chosen=False)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        "gated-netvlad pretrain: trains on the CPU, although this machine has NVIDIA H100 80GB HBM3, Tesla V100: "
        "Keras does not see it; install requirements-gpu.txt (docs/scale.md)"
    )


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize(("device", "is_chosen"), [("CPU", True), ("NVIDIA H100 80GB HBM3", False)])
def test_a_chosen_cpu_and_a_gpu_in_use_are_no_warning(
    caplog: pytest.LogCaptureFixture, device: str, is_chosen: bool
) -> None:
    with caplog.at_level("INFO"):
        log_device("bert pretrain", "PyTorch", device, is_chosen)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert caplog.records[0].getMessage() == f"bert pretrain: on {device}"


def test_torch_names_its_device() -> None:
    device = kind_of(member_of("paper", "bert-l2h12-mean")).device
    assert device is not None
    assert device(TorchOptions(device="cpu")) == "CPU"


def test_trees_have_no_use_for_a_gpu() -> None:
    assert kind_of(member_of("beyond", "boosted")).device is None
