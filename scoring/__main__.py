"""`python -m scoring`: evaluate, compare, fuse, optimize, merge, check, published on files; predict; `tracked` runs."""

import shlex
import sys
from collections.abc import Callable, Mapping

from scoring.commands.check import check
from scoring.commands.compare import compare
from scoring.commands.evaluate import evaluate
from scoring.commands.fuse import fuse
from scoring.commands.merge import merge
from scoring.commands.optimize import optimize
from scoring.commands.options import PROGRAM
from scoring.commands.predict import predict
from scoring.commands.published import published
from terminal.cli import Group, main


def _tracked() -> Mapping[str, Callable]:
    from scoring.commands import tracked

    return {"merge": tracked.merge, "optimize": tracked.optimize, "fuse": tracked.fuse}


VERSION = "0.1.0"  # that of pyproject.toml

COMMANDS = {
    "evaluate": evaluate,
    "compare": compare,
    "fuse": fuse,
    "optimize": optimize,
    "merge": merge,
    "check": check,
    "predict": predict,
    "published": published,
    "tracked": Group("Merge, optimize and fuse the tracked runs of a line-up instead of files.", _tracked),
}


def start() -> None:
    """Run the command line; exits with 2 and the new spelling if tracked runs are given to a command on files."""
    words = sys.argv[1:]
    if words == ["--version"]:
        print(VERSION)
        return
    flags = {word.partition("=")[0] for word in words}
    if words and words[0] in ("merge", "optimize", "fuse") and flags & {"--experiment", "--lineup"}:
        spelling = shlex.join([*PROGRAM.split(), "tracked", *words])
        print(f"error: {words[0]} takes files; for tracked runs type `{spelling}`", file=sys.stderr)
        sys.exit(2)
    main(
        COMMANDS,
        PROGRAM,
        "Score, fuse and weight ranked lists in plain files or of tracked runs. Also: --version.",
    )


if __name__ == "__main__":
    start()
