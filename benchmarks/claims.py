"""`python -m benchmarks.claims --data data/audioset --seeds 3`: the paper's claims on AudioSet/DESED.

Trains what is lacking: per seed the line-up `audioset`, with its ensemble, and the variants of `audioset-claims`; and
for one member the sweep of settings. Then reads their runs and writes docs/results.md and its figures. What is finished
is not repeated.
"""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from benchmarks.claims_page import FOLDS, figures, page
from benchmarks.claims_rows import BERT, LINEUP, VARIANT_LINEUP, read
from benchmarks.claims_runs import SHRINK, open_seed
from benchmarks.scoring import commit
from training import sweep
from training.job import Job
from training.members import member_of, seed_name
from videos.store import open_frames

TARGET = Path("docs/results.md")


def run(
    data: Annotated[Path, arg(metavar="DIR")] = Path("data/audioset"),
    seeds: Annotated[int, arg(metavar="N")] = 3,
    out: Annotated[Path, arg(metavar="FILE")] = TARGET,
) -> None:
    """Train what is lacking for seeds 0 .. N-1, and write the page and, next to it, figures/claims-*.png.

    Args:
        data: Folder of the frame store of `python -m training ingest audioset`.
        seeds: Number of seeds, at least 2.
        out: The page to write.
    """
    if seeds < 2:
        raise SystemExit(f"--seeds is {seeds}; a spread over seeds needs at least 2")
    measured = commit()
    for seed in range(seeds):
        for verb, lineup, *options in (("run", LINEUP, "--shrink", str(SHRINK)), ("train", VARIANT_LINEUP)):
            command = ["-m", "training", verb, "--lineup", seed_name(lineup, seed), "--data", str(data), *options]
            subprocess.run([sys.executable, *command], check=True)
    store = open_frames(data)
    opened = [open_seed(store, LINEUP, VARIANT_LINEUP, seed) for seed in range(seeds)]
    results = read(opened, measured, f"python -m benchmarks.claims --data {data} --seeds {seeds}")
    job = Job(lineup=LINEUP, member=member_of(LINEUP, BERT), store=store)
    results = replace(results, settings=[sweep.cells(*setting) for setting in sweep.sweep(job, FOLDS)])
    figures(opened, out.parent / "figures")
    out.write_text("\n".join(page(results)))
    print(f"written to {out}", *page(results)[2:5], sep="\n")


if __name__ == "__main__":
    import tyro

    tyro.cli(run, prog="python -m benchmarks.claims")
