"""Whether the process that opened a run is alive, judged from the run's tags.

A host name and a pid do not identify a process: containers share host names, and pids are reused. A process is
identified by the boot of its machine, its pid namespace, its pid and its start. Another namespace or machine cannot be
inspected from here, so its processes are never taken for dead.
"""

import hashlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

HOST, PID, BOOT, NAMESPACE, MACHINE = "host", "pid", "boot", "pid_namespace", "machine"  # tags of a run
CLOCK = 2.0  # seconds by which two readings of the boot time may differ


def describe_process(pid: int) -> str | None:
    """`<pid>@<seconds from boot to its start>, <its start in UTC>`, or None if no such process runs.

    The seconds do not change when the clock is set.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return None
        start = process.create_time()
    except psutil.NoSuchProcess:
        return None
    return f"{pid}@{start - psutil.boot_time():.2f}, {datetime.fromtimestamp(start, UTC):%Y-%m-%dT%H:%M:%SZ}"


def process_tags() -> dict[str, str]:
    """The tags that identify this process."""
    return {**_machine(), PID: describe_process(os.getpid()) or ""}


def is_dead(tags: Mapping[str, str]) -> bool:
    """Whether the process that these tags identify is known to have ended."""
    here = _machine()
    if tags.get(BOOT) != here[BOOT]:
        # Known for a reboot only if the machine is known to be the same one.
        return bool(here[MACHINE]) and BOOT in tags and tags.get(MACHINE) == here[MACHINE]
    if tags.get(NAMESPACE) != here[NAMESPACE]:
        return False
    pid, _, start = tags.get(PID, "").partition("@")
    current = describe_process(int(pid)) if pid.isdigit() else None
    return current is None or abs(_seconds(start) - _seconds(current.partition("@")[2])) > CLOCK


def _seconds(start: str) -> float:
    return float(start.partition(",")[0])


@cache
def _machine() -> dict[str, str]:
    """The tags of this machine and pid namespace; a tag is empty if the operating system does not provide it."""
    import socket

    import psutil

    boot, machine = Path("/proc/sys/kernel/random/boot_id"), Path("/etc/machine-id")
    identity = machine.read_text().strip() if machine.is_file() else ""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return {
        HOST: socket.gethostname(),
        BOOT: boot.read_text().strip() if boot.is_file() else f"{psutil.boot_time():.0f}",
        NAMESPACE: namespace,
        MACHINE: identity and hashlib.sha256(identity.encode()).hexdigest()[:16],  # machine-id(5): not to be published
    }
