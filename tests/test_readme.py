"""Every command that the README names exists, with the flags that it gives."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = sorted({line.split("#")[0].strip() for line in re.findall(r"^    python (-m .+)$", README, re.MULTILINE)})


def test_the_readme_names_commands() -> None:
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_exists(command: str) -> None:
    words = command.replace("'", "").split()
    depth = 4 if words[2] in ("ingest", "tracked") else 3
    help_text = subprocess.run(
        [sys.executable, *words[:depth], "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert [flag for flag in words[depth:] if flag.startswith("--") and flag not in help_text] == []


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^    |`)make ([a-z-]+)", README, re.MULTILINE)) <= targets


def test_every_module_that_make_runs_exists() -> None:
    called = set(re.findall(r"\(PY\) -m ([a-z_.]+)", (ROOT / "Makefile").read_text()))
    modules = called - {"pip", "pytest", "ruff"}
    assert modules
    for module in modules:
        place = ROOT / module.replace(".", "/")
        assert place.with_suffix(".py").exists() or (place / "__main__.py").exists()


def test_every_link_of_the_readme_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
