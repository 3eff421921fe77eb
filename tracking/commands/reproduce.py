"""`python -m tracking reproduce`: the commands that make a run again, and what is another here."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from tracking import runs
from tracking.lineage import Origin, origin_of
from tracking.repetition import repeat
from tracking.revision import revision


def reproduce(run: Annotated[Positional[str], arg(metavar="RUN")], check: bool = False) -> None:
    """Print the commands that make a run and what it builds on again, and how this checkout and the data differ.

    The lines can be typed as they are; differences are comments.

    Args:
        run: The id of a run.
        check: Also run its stage again, with the code of this checkout, in a temporary store, and compare the results:
            weights, predictions or lists. A result that differs is an error.
    """
    origin = origin_of(run)
    print("\n".join(commands(origin)), flush=True)
    if check:
        print(compared(*repeat(origin)))


def compared(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """A sentence if two results are the same; RuntimeError with what differs if they are not."""
    names = sorted(before.keys() | after.keys())
    different = [name for name in names if before.get(name) != after.get(name)]
    if different:
        lines = [
            f"  {name}: {before.get(name, 'missing')} before, {after.get(name, 'missing')} now" for name in different
        ]
        text = f"{len(different)} of {len(names)} results differ; compare code, data and device\n"
        raise RuntimeError(text + "\n".join(lines))
    return f"repeated with the same result: {', '.join(names)}"


def commands(origin: Origin) -> list[str]:
    """Command lines and comments, upstream runs first; a command that made several runs comes once."""
    records = {part.run_id: part.record for part in reversed(list(origin.walk())) if part.record is not None}
    ordered = sorted(records.values(), key=lambda record: record.start)
    lines: list[str] = []
    code, last = ("", ""), ""
    for record in ordered:
        tags = record.tags
        made_by = (tags.get(runs.COMMIT, "unknown"), tags.get(runs.DIRTY, ""))
        if made_by != code:
            lines += _checkout(record)
            code = made_by
        command = tags.get(runs.COMMAND, "")
        if command != last:
            lines += [*_data(record, command), command]
            last = command
    gone = [part.run_id for part in origin.walk() if part.record is None]
    return [*(f"# the run {run_id} is not in the store any more" for run_id in dict.fromkeys(gone)), *lines]


def _checkout(record: runs.Record) -> list[str]:
    """The lines that bring back the code of a run."""
    commit, dirty = record.tags.get(runs.COMMIT, "unknown"), record.tags.get(runs.DIRTY)
    here = revision()
    lines = []
    if here != (commit, "false") or dirty == "true":
        same = "the commit of this checkout" if here[0] == commit else f"this checkout is at {here[0]}"
        lines.append(f"# {same}{', with changes' if here[1] == 'true' else ''}")
    lines.append(f"git checkout {commit}")
    if dirty == "true":
        lines.append(f"git apply {shlex.quote(str(record.artifact('code.diff')))}")
    return [*lines, "python -m pip install -r requirements.txt"]


def _data(record: runs.Record, command: str) -> list[str]:
    """A comment if the data that a command names is another than the run's."""
    words = shlex.split(command)
    if "--data" not in words[:-1]:
        return []
    index, wanted = Path(words[words.index("--data") + 1]) / "dataset.json", record.tags.get(runs.DATA_DIGEST, "")
    if not index.is_file():
        return [f"# {index} is not there; the run's data has the digest {wanted}"]
    digest = json.loads(index.read_text()).get("digest", "")
    return [] if digest == wanted else [f"# {index} has the digest {digest}, the run's data {wanted}"]
