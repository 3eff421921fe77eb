"""The door of every command: parse, run, and say in one sentence what went wrong."""

import logging
import signal
import sys
from collections.abc import Callable


def main(commands: dict[str, Callable], prog: str, description: str) -> None:
    """Run the command named on the command line; its flags and help come from its signature and docstring.

    Exit codes: 0 done, 1 failed (a ValueError, OSError or RuntimeError is printed as one sentence, without a
    traceback), 2 usage. SIGTERM unwinds like Ctrl-C does, so that open runs end FAILED and temporary files go.
    """
    import tyro

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        tyro.extras.subcommand_cli_from_dict(commands, prog=prog, description=description)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
