"""Imports flow downhill, and importing does nothing."""

import ast
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FRAMEWORKS = {"torch", "tensorflow", "keras", "lightgbm"}
FORBIDDEN = {
    "scoring": {"training", "dashboard", "streamlit", "mlflow"} | FRAMEWORKS,
    "tracking": {"training", "dashboard", "scoring", "streamlit", "ax"},
    "training": {"dashboard", "streamlit", "ax", "mlflow"},
    "dashboard": {"training", "ax", "mlflow"} | FRAMEWORKS,
}
# The files of each wing that may meet a neighbour.
ALONE = {
    ("scoring", "tracking"): ["scoring/logs.py", "scoring/stages.py"],
    ("scoring", "ax"): ["scoring/search.py"],
}


def imported_packages(source: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def sources(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, f"{package} has no source files"
    return found


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_flow_downhill(package: str) -> None:
    offenders = {
        source.relative_to(ROOT).as_posix(): sorted(wrong)
        for source in sources(package)
        if (wrong := imported_packages(source) & FORBIDDEN[package])
    }
    assert offenders == {}


@pytest.mark.parametrize(("package", "neighbour"), ALONE)
def test_a_neighbour_is_met_in_few_files_alone(package: str, neighbour: str) -> None:
    meeting = [path.relative_to(ROOT).as_posix() for path in sources(package) if neighbour in imported_packages(path)]
    assert meeting == ALONE[package, neighbour]


SCORING = ["evaluate", "compare", "fuse", "optimize", "merge", "check", "published"]
TRAINING = ["pretrain", "finetune", "infer", "run", "members", "ingest", "ingest yt8m", "ingest audioset"]
HELPS = [("scoring", command) for command in ["", *SCORING]]
HELPS += [("training", command) for command in ["", *TRAINING, "ingest synthetic"]]


@pytest.mark.parametrize(("door", "command"), HELPS)
def test_help_is_quick_because_it_imports_nothing_heavy(door: str, command: str) -> None:
    heavy = {"mlflow", "ax", "matplotlib", "streamlit", "pandas", "sklearn", "scipy"} | FRAMEWORKS
    code = (
        f"import runpy, sys; sys.argv = ['{door}', *{command.split()}, '--help']\n"
        f"try: runpy.run_module('{door}', run_name='__main__')\n"
        f"finally: print(sorted(set(sys.modules) & {heavy!r}), file=sys.stderr)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr.strip()) == (0, "[]"), done.stderr
    assert "usage:" in done.stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Of the processor's time, which a busy machine leaves as it is.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3


@pytest.mark.parametrize("package", FORBIDDEN)
def test_importing_changes_no_file(package: str, tmp_path: Path) -> None:
    modules = [
        ".".join(source.relative_to(ROOT).with_suffix("").parts)
        for source in sources(package)
        if source.name not in ("__main__.py", "app.py") and source.parent.name != "views"
    ]
    code = f"import importlib, sys; sys.path.insert(0, {str(ROOT)!r}); [importlib.import_module(m) for m in {modules}]"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []
