"""Every command, file and check that README.md, CONTRIBUTING.md and the Makefile name exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "CONTRIBUTING.md")
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


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_of_a_page_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^    |`)make ([a-z-]+)", (ROOT / page).read_text(), re.MULTILINE))
    assert named
    assert named <= targets


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


def test_the_tree_of_the_readme_is_the_tree() -> None:
    """Its folders and files exist, and all packages of the first two floors are in it."""
    lines = re.findall(r"^(    |      )(\S+) +(.*)$", README.partition("## The house")[2], re.MULTILINE)
    top, named, missing = ROOT, set(), []
    for indent, name, text in lines:
        path = (ROOT if indent == "    " else top) / name
        top = path if indent == "    " else top
        named.add(path)
        missing += [] if path.exists() else [path]
        missing += [file for file in re.findall(r"\w+\.py", text) if not any(top.rglob(file))]
    assert missing == []
    inner = [*ROOT.glob("scoring/*/__init__.py"), *ROOT.glob("training/*/__init__.py")]
    assert {init.parent for init in [*ROOT.glob("*/__init__.py"), *inner]} - named == set()


def test_every_path_of_the_guide_exists() -> None:
    paths = re.findall(r"`([\w.]*/[\w./]*|\w+\.py)`", (ROOT / "CONTRIBUTING.md").read_text())
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).exists()] == []
