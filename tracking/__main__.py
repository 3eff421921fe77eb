"""`python -m tracking`: what is running."""

from terminal.cli import main
from tracking.commands.status import status

COMMANDS = {"status": status}

if __name__ == "__main__":
    main(COMMANDS, prog="python -m tracking", description="The record of runs: what is running.")
