"""The entry of every command: parse the command line, run the command, print errors as one sentence."""

import errno
import logging
import os
import shlex
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from types import FrameType


@dataclass(frozen=True)
class Group:
    """Commands under one word, such as `ingest yt8m` and `ingest audioset`."""

    description: str
    commands: Callable[[], Mapping[str, Callable]]  # called when the group is entered, which delays its imports


def main(commands: Mapping[str, Callable | Group], prog: str, description: str) -> None:
    """Run the command named on the command line; its flags and help come from its signature and docstring.

    Exit codes: 0 done, 1 failed, 2 usage, 130 Ctrl-C, 143 SIGTERM. Both signals raise, so open runs end KILLED and
    temporary files are removed. A failure is printed as one sentence. ValueError and RuntimeError bring their own;
    errors of the operating system get the file and a remedy, and so does a process of a pool that was killed; other
    exceptions, which no caller expected, also have their traceback written to a file.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    before = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _dispatch(commands, prog, description, sys.argv[1:])
    except OSError as error:
        print(f"error: {_of_system(error)}", file=sys.stderr)
        sys.exit(1)
    except BrokenExecutor:
        reason, remedy = "probably because memory ran out", "type the command again with fewer --jobs"
        print(f"error: a process of this command was killed, {reason}; {remedy}", file=sys.stderr)
        sys.exit(1)
    except (ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        print(f"error: {_unexpected(error)}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    finally:
        code = getattr(sys.exc_info()[1], "code", None)
        is_stopping = isinstance(code, int) and code > 128  # the stack has been unwound
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if is_stopping else handler)


def _unexpected(error: Exception) -> str:
    """Type and first line of an exception, and the file with its traceback."""
    with tempfile.NamedTemporaryFile("w", prefix="traceback-", suffix=".txt", delete=False) as file:
        file.write("".join(traceback.format_exception(error)))
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
    return f"{type(error).__name__}: {reason.rstrip('.')}; please report it with {file.name}"


REMEDIES = {
    errno.ENOENT: "give the path of an existing file",
    errno.EACCES: "change its permissions, or choose another path",
    errno.EPERM: "change its permissions, or choose another path",
    errno.EROFS: "choose a path that can be written to",
    errno.EISDIR: "give the path of a file",
    errno.ENOTDIR: "give a path whose folders exist",
    errno.ENOSPC: "free space on the disk, or choose another path",
    errno.EDQUOT: "free space on the disk, or choose another path",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}


def _of_system(error: OSError) -> str:
    """An error of the operating system as a sentence with the file and the remedy; other OSErrors have their own."""
    if error.errno is None or error.strerror is None:
        return str(error)
    what = " and ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    reason = error.strerror[:1].lower() + error.strerror[1:]
    return f"{what or 'a file'}: {reason}; {REMEDIES.get(error.errno, 'check the path and the disk')}"


def typed(prog: str, *more: str) -> str:
    """The command line as typed, followed by `more` flags."""
    return shlex.join([*prog.split(), *sys.argv[1:], *more])


def counted(number: int, noun: str) -> str:
    """`1 class`, `2 classes`, `1,000 pairs`."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def _stop(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt or SystemExit.

    A C callback may swallow it, so the signal is sent again every 0.1 s until an exception is propagating; after that
    signals are ignored so that cleanup is not interrupted.
    """
    error = sys.exc_info()[1]
    while error is not None:
        if isinstance(error, SystemExit | KeyboardInterrupt):
            return
        error = error.__context__
    again = threading.Timer(0.1, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()
    while frame is not None:  # Python drops what is raised in a destructor or a weak reference's callback
        if frame.f_code.co_name == "__del__" or frame.f_globals.get("__name__") == "weakref":
            return
        frame = frame.f_back
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


def _dispatch(commands: Mapping[str, Callable | Group], prog: str, description: str, args: list[str]) -> None:
    import tyro
    from tyro._errors import InstantiationFailure, ParseErrorEvent, on_parse_error

    def refuse(event: ParseErrorEvent) -> None:
        """Raise the ValueError of a settings class as it is; tyro would print it in a box of its own."""
        if isinstance(event, InstantiationFailure):
            raise ValueError(event.message)

    group = commands.get(args[0]) if args else None
    if isinstance(group, Group):
        return _dispatch(group.commands(), f"{prog} {args[0]}", group.description, args[1:])
    named = {name: _placeholder(entry) for name, entry in commands.items()}
    if group is not None:
        named[args[0]] = group
    # Flags have no opposite: `--json` without `--no-json`.
    with on_parse_error(refuse):
        tyro.extras.subcommand_cli_from_dict(
            named, prog=prog, description=description, args=args, config=(tyro.conf.FlagCreatePairsOff,)
        )


def _placeholder(entry: Callable | Group) -> Callable:
    """A command in the list of commands, with its first paragraph; never called."""

    def placeholder() -> None: ...

    description = entry.description if isinstance(entry, Group) else entry.__doc__ or ""
    placeholder.__doc__ = description.partition("\n\n")[0]
    return placeholder
