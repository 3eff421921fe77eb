"""`--notify`: a command of the user's that is run when long work has ended."""

import logging
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

log = logging.getLogger(__name__)

SECONDS = 60.0  # that the command may take


@contextmanager
def notifying(command: str | None, facts: Mapping[str, str]) -> Iterator[None]:
    """After the block, run `command` (None: nothing), with `facts`, RUN_STATUS and RUN_ERROR as environment variables.

    RUN_STATUS is FINISHED, FAILED or KILLED, RUN_ERROR the reason or empty. ValueError before the block if there is no
    such command. It is not run by a shell; its failure is a warning.
    """
    words = shlex.split(command) if command is not None else []
    if command is not None and (not words or shutil.which(words[0]) is None):
        raise ValueError(
            f"--notify: there is no command {words[0] if words else command!r}; give a program with its path"
        )
    status, reason = "FINISHED", ""
    try:
        yield
    except BaseException as error:
        status = "KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED"
        reason = str(error) or type(error).__name__
        raise
    finally:
        if words:
            _run(words, {**os.environ, **facts, "RUN_STATUS": status, "RUN_ERROR": reason})


def _run(words: list[str], environment: Mapping[str, str]) -> None:
    try:
        done = subprocess.run(words, env=environment, check=False, timeout=SECONDS)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:  # ValueError: a NUL in the reason
        log.warning("--notify: %s", error)
    else:
        if done.returncode:
            log.warning("--notify: `%s` ended with the exit code %d", shlex.join(words), done.returncode)
