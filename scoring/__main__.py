"""`python -m scoring`: evaluate, compare, fuse, optimize, merge, check, published. Works on plain files, anybody's."""

from scoring.commands.check import check
from scoring.commands.compare import compare
from scoring.commands.evaluate import evaluate
from scoring.commands.fuse import fuse
from scoring.commands.merge import merge
from scoring.commands.optimize import optimize
from scoring.commands.options import PROGRAM
from scoring.commands.published import published
from terminal.cli import main

COMMANDS = {
    "evaluate": evaluate,
    "compare": compare,
    "fuse": fuse,
    "optimize": optimize,
    "merge": merge,
    "check": check,
    "published": published,
}


if __name__ == "__main__":
    main(COMMANDS, PROGRAM, "Score, fuse and weigh ranked lists: anybody's, in plain files.")
