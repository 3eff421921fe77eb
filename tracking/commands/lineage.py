"""`python -m tracking lineage`: from a run or a Kaggle CSV back to weights, data and code."""

import json as json_format
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from tracking import runs
from tracking.lineage import Origin, origin_of, run_of_submission

if TYPE_CHECKING:
    from rich.tree import Tree


def lineage(run: Annotated[Positional[str], arg(metavar="RUN|FILE.csv")], json: bool = False) -> None:
    """Print what a run or a submission is made of: runs, their checkpoints, data and code.

    Args:
        run: The id of a run, or a Kaggle CSV (.csv, .csv.gz) that `fuse` wrote.
        json: Print one JSON object instead of a tree.
    """
    is_file = run.endswith((".csv", ".csv.gz"))
    origin = origin_of(run_of_submission(Path(run)) if is_file else run)
    if json:
        print(json_format.dumps(_entry(origin), indent=1))
        return
    from rich.console import Console

    # A file or a pipe has no width, and rich's default would cut lines.
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False)
    console.print(_tree(origin))
    commits = {code for code in map(_code, origin.walk()) if code}
    if len(commits) > 1:
        print(f"made by {len(commits)} versions of the code: {', '.join(sorted(commits))}")


def _entry(origin: Origin) -> dict[str, Any]:
    record, upstream = origin.record, [_entry(part) for part in origin.upstream]
    if record is None:
        return {"run_id": origin.run_id, "is_gone": True}
    tags = record.tags
    return {
        "run_id": record.run_id,
        "experiment": record.experiment,
        "lineup": tags.get(runs.LINEUP),
        "member": tags.get(runs.MEMBER),
        "stage": record.name,
        "status": record.status,
        "start": record.start.isoformat(timespec="seconds"),
        "data_digest": tags.get(runs.DATA_DIGEST),
        "commit": tags.get(runs.COMMIT),
        "dirty": tags.get(runs.DIRTY) == "true",
        "command": tags.get(runs.COMMAND),
        "artifacts": record.artifact_uri,
        "upstream": upstream,
    }


def _tree(origin: Origin) -> "Tree":
    from rich.text import Text
    from rich.tree import Tree

    tree = Tree(Text(_line(origin)))
    for part in origin.upstream:
        tree.children.append(_tree(part))
    return tree


def _line(origin: Origin) -> str:
    record = origin.record
    if record is None:
        return f"{origin.run_id}: not in the store any more"
    subject = record.tags.get(runs.MEMBER, f"ensemble {record.tags.get(runs.LINEUP, '')}".strip())
    data = record.tags.get(runs.DATA_DIGEST, "unknown")[:8]
    made = f"code {_code(origin)}  {record.start:%Y-%m-%d %H:%M}"
    return f"{subject} {record.name}  run {record.run_id}  data {data}  {made}"


def _code(origin: Origin) -> str:
    if origin.record is None:
        return ""
    tags = origin.record.tags
    return tags.get(runs.COMMIT, "unknown")[:8] + (" + code.diff" if tags.get(runs.DIRTY) == "true" else "")
