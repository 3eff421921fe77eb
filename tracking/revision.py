"""The code that a run is made by: its commit, what differs from it, and what has changed since another commit."""

import subprocess
from functools import cache

from tracking.store import ROOT

UNKNOWN = "unknown"  # outside of a git checkout
MOST = 2_000_000  # characters of a difference that are logged
# Code that cannot change a result.
ASIDE = (":!tests", ":!dashboard", ":!benchmarks", ":!docs", ":!terminal", ":!tracking")


@cache
def revision() -> tuple[str, str]:
    """The commit, and whether the checkout differs from it (true | false); unknown outside of a git checkout."""
    try:
        return _git("rev-parse", "HEAD").strip(), "true" if _git("status", "--porcelain") else "false"
    except (OSError, subprocess.CalledProcessError):
        return UNKNOWN, UNKNOWN


@cache
def difference() -> str:
    """What differs from the commit: a patch of the files in git, and the names of files that are not; "" if nothing."""
    if revision()[1] != "true":
        return ""
    new = _git("ls-files", "--others", "--exclude-standard")
    patch = _git("diff", "HEAD")
    names = "".join(f"# not in git, and not in this patch: {name}\n" for name in new.splitlines())
    return (names + patch)[:MOST]


@cache
def changed_since(commit: str) -> list[str] | None:
    """The Python files that may change a result and differ from `commit` now; None if git does not know the commit."""
    try:
        return _git("diff", "--name-only", commit, "--", "*.py", *ASIDE).split()
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True).stdout
