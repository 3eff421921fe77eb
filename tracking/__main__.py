"""`python -m tracking`: status, sync."""

from terminal.cli import main
from tracking.commands.status import status
from tracking.commands.sync import sync

COMMANDS = {"status": status, "sync": sync}

if __name__ == "__main__":
    main(COMMANDS, prog="python -m tracking", description="The record of runs: what runs, and what is not sent yet.")
