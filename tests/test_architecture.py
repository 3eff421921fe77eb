"""Imports flow downhill, and importing does nothing."""

import ast
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FRAMEWORKS = {"torch", "tensorflow", "keras", "lightgbm"}
# From the ground floor up: a room imports only from itself and from rooms above it in this list.
ROOMS = [
    "files",
    "tracking",
    "terminal",
    "tracking/commands",
    "tracking/__main__.py",
    "videos",
    "videos/sources",
    "videos/ingest.py",
    "scoring/lists",
    "scoring/measures",
    "scoring/fusion",
    "scoring/weights",
    "scoring/tracked",
    "scoring/commands",
    "scoring",
    "training/limits.py",
    "training/windows",
    "training/models/layers",
    "training/models",
    "training/member.py",
    "training/members.py",
    "training/fit",
    "training/prior.py",
    "training/trained.py",
    "training/ranking.py",
    "training/job.py",
    "training/boosted",
    "training/listing.py",
    "training/serving.py",
    "training/stages.py",
    "training/cluster.py",
    "training/line_up.py",
    "training",
    "dashboard",
]
PACKAGES = sorted({room.partition("/")[0] for room in ROOMS})
FORBIDDEN = {
    "files": {"numpy", "polars", "tracking", "mlflow", "ax", "streamlit"} | FRAMEWORKS,
    "terminal": {"tracking", "mlflow", "ax", "streamlit", "polars"} | FRAMEWORKS,
    "tracking": {"streamlit", "ax"},
    "videos": {"streamlit", "ax", "mlflow"},
    "scoring": {"streamlit", "mlflow"} | FRAMEWORKS,
    "training": {"streamlit", "ax", "mlflow"},
    "dashboard": {"training", "ax", "mlflow"} | FRAMEWORKS,
}
# Where alone a package is met: by the package that imports and the one that is imported.
ALONE = {
    ("scoring", "tracking"): "scoring/tracked/",
    ("scoring", "ax"): "scoring/weights/search.py",
    ("scoring", "numba"): "scoring/lists/kernels.py",
    ("videos", "tracking"): "videos/ingest.py",
}


def imported_modules(source: Path) -> set[str]:
    """Every module that a file imports, at its top or within a function; `a.b` where it has `from a import b`."""
    names = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_packages(source: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported_modules(source)}


def room_of(module: str) -> str | None:
    """The room of a module of ours, the innermost where rooms lie in rooms."""
    path = module.replace(".", "/") + "/"
    rooms = [room for room in ROOMS if path.startswith(room.removesuffix(".py") + "/")]
    return max(rooms, key=len, default=None)


def sources(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, f"{package} has no source files"
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_down_from_room_to_room(package: str) -> None:
    up = []
    for source in sources(package):
        own = room_of(source.relative_to(ROOT).with_suffix("").as_posix())
        assert own is not None
        rooms = {module: room_of(module) for module in imported_modules(source)}
        up += [
            f"{source.relative_to(ROOT)} ({own}) imports {module} ({room})"
            for module, room in rooms.items()
            if room is not None and ROOMS.index(room) > ROOMS.index(own)
        ]
    assert up == []


def test_every_room_is_there() -> None:
    assert [room for room in ROOMS if not (ROOT / room).exists()] == []


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_package_stays_free_of_what_it_must_not_need(package: str) -> None:
    offenders = {
        source.relative_to(ROOT).as_posix(): sorted(wrong)
        for source in sources(package)
        if (wrong := imported_packages(source) & FORBIDDEN[package])
    }
    assert offenders == {}


@pytest.mark.parametrize(("package", "neighbour"), ALONE)
def test_a_package_is_met_in_one_place_alone(package: str, neighbour: str) -> None:
    meeting = [path.relative_to(ROOT).as_posix() for path in sources(package) if neighbour in imported_packages(path)]
    assert meeting
    assert [path for path in meeting if not path.startswith(ALONE[package, neighbour])] == []


def test_windows_load_no_search_for_weights() -> None:
    code = "import sys, training.windows.examples; print([m for m in sys.modules if m.startswith('scoring.weights')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


SCORING = ["evaluate", "compare", "fuse", "optimize", "merge", "check", "predict", "published"]
SCORING += ["tracked", "tracked merge", "tracked optimize", "tracked fuse"]
TRAINING = ["pretrain", "finetune", "infer", "sweep", "run", "members", "ingest", "ingest yt8m", "ingest audioset"]
HELPS = [("scoring", command) for command in ["", *SCORING]]
HELPS += [("tracking", command) for command in ["", "status", "sync", "lineage", "reproduce", "export", "promote"]]
HELPS += [("dashboard", command) for command in ("", "report")]
HELPS += [("training", command) for command in ["", *TRAINING, "ingest synthetic"]]


@pytest.mark.parametrize(("door", "command"), HELPS)
def test_help_is_quick_because_it_imports_nothing_heavy(door: str, command: str) -> None:
    heavy = {"mlflow", "ax", "matplotlib", "streamlit", "pandas", "sklearn", "scipy", "numba"} | FRAMEWORKS
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


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_changes_no_file(package: str, tmp_path: Path) -> None:
    modules = [
        ".".join(source.relative_to(ROOT).with_suffix("").parts)
        for source in sources(package)
        if source.name not in ("__main__.py", "app.py") and source.parent.name != "views"
    ]
    code = f"import importlib, sys; sys.path.insert(0, {str(ROOT)!r}); [importlib.import_module(m) for m in {modules}]"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []


def test_the_grammar_of_a_segment_id_stands_in_one_file() -> None:
    grammar = re.compile(r"""\{\}:\{\}|:\[\^:\]|:\(?\\d|lit\(":"\)|(split|partition)\(":"\)|\bstart\}:|:\{start""")
    # files, terminal and tracking are below videos and know no segments: their colons are those of addresses.
    rooms = ["videos", "scoring", "training", "dashboard", "benchmarks"]
    files = [path.relative_to(ROOT).as_posix() for room in rooms for path in sources(room)]
    assert [file for file in files if grammar.search((ROOT / file).read_text())] == []
