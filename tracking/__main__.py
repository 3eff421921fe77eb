"""`python -m tracking`: status, sync, lineage, reproduce, export, promote, ui."""

from terminal.cli import main
from tracking.commands.export import export
from tracking.commands.lineage import lineage
from tracking.commands.promote import promote
from tracking.commands.reproduce import reproduce
from tracking.commands.status import status
from tracking.commands.sync import sync
from tracking.commands.ui import ui

COMMANDS = {
    "status": status,
    "sync": sync,
    "lineage": lineage,
    "reproduce": reproduce,
    "export": export,
    "promote": promote,
    "ui": ui,
}

if __name__ == "__main__":
    main(
        COMMANDS,
        prog="python -m tracking",
        description="The record of runs: what runs, what is not sent yet, what a run is made of.",
    )
