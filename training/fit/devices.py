"""The device that a fit runs on, and whether a GPU of this machine is left unused."""

import logging
from pathlib import Path

log = logging.getLogger(__name__)

DRIVER = Path("/proc/driver/nvidia/gpus")  # NVIDIA's driver has a folder per GPU here; nvidia-smi reads the same
CPU = "CPU"
REMEDY = "install requirements-gpu.txt (docs/scale.md)"


def gpus_of_driver() -> list[str]:
    """The names of the GPUs that NVIDIA's driver on this machine knows; empty without it."""
    names = []
    for path in sorted(DRIVER.glob("*/information")):
        lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        names.append(lines.get("Model", "NVIDIA GPU").strip())
    return names


def log_device(label: str, framework: str, device: str, is_chosen: bool) -> None:
    """Log the `device` of a fit; a warning if it is the CPU, nobody has chosen it, and there is a GPU."""
    gpus = [] if device != CPU or is_chosen else gpus_of_driver()
    if gpus:
        text = "%s: trains on the CPU, although this machine has %s: %s does not see it; %s"
        log.warning(text, label, ", ".join(gpus), framework, REMEDY)
    else:
        log.info("%s: on %s", label, device)
