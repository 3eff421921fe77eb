"""The stages of a line-up's members, one after the other or on the workers of a Dask cluster.

On a cluster each member's stage is a task, and each task an ordinary tracked stage. If a worker is lost, its task goes
to another one, which resumes from the last checkpoint if it sees it, and finds what is finished. The workers need the
frame store under the same path, this version of the repository, and the tracking store: several machines need a
tracking server.
"""

import logging
import os
import uuid
from collections.abc import Mapping, Sequence
from typing import cast

from scoring.fusion.workers import dask_client
from tracking import runs
from tracking.store import tracking_uri
from training import stages
from training.job import Job

log = logging.getLogger(__name__)

GPU = "GPU"  # the resource of workers that were started with `--resources GPU=1`
Outcome = list[runs.Record] | str  # the runs of a member's stages in their order, or why one failed


def run_here(jobs: Sequence[Job], splits: Sequence[str]) -> dict[str, Outcome]:
    """The outcome of each member by name, one after the other; bases are before the members that build on them."""
    outcomes: dict[str, Outcome] = {}
    for job in jobs:
        try:
            if missing := _failed_bases(job, outcomes):
                raise ValueError(missing)
            outcome = [stages.run_stage(job, stage, split) for stage, split in stages.steps(job, splits)]
        except Exception as error:
            outcome = _reason(error)
            log.error("%s failed, the line-up continues without it: %s", job.member.name, outcome)
        outcomes[job.member.name] = outcome
    return outcomes


def run_on(scheduler: str, jobs: Sequence[Job], splits: Sequence[str]) -> dict[str, Outcome]:
    """`run_here` on the workers of the scheduler at this address; on those with the resource GPU if there are any.

    ValueError if no scheduler answers or it has no worker.
    """
    from distributed import Future, as_completed

    with dask_client(scheduler) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        if not workers:
            raise ValueError(f"the scheduler {scheduler} has no worker; start some with `dask worker {scheduler}`")
        resources = {GPU: 1} if any(GPU in worker["resources"] for worker in workers) else None
        uri = os.environ.get("MLFLOW_TRACKING_URI") or tracking_uri()
        tasks: dict[str, list[Future]] = {}
        finetuned: dict[str, Future] = {}
        for job in jobs:
            name = job.member.name
            after = [finetuned[base] for base in job.member.config.builds_on]
            tasks[name] = []
            for stage, split in stages.steps(job, splits):
                key = f"{name} {stage} {split}".strip(), uuid.uuid4().hex
                task = client.submit(_work, job, stage, split, uri, after, key=key, resources=resources)
                tasks[name].append(task)
                if not split:
                    finetuned[name], after = task, [task]
        for task in as_completed([task for member_tasks in tasks.values() for task in member_tasks], loop=client.loop):
            log.info("%s: %s", task.key[0], task.status)
        outcomes: dict[str, Outcome] = {}
        for job in jobs:
            name = job.member.name
            errors = [cast(BaseException, task.exception()) for task in tasks[name] if task.status != "finished"]
            missing = _failed_bases(job, outcomes)
            if errors:
                outcomes[name] = _reason(ValueError(missing) if missing else errors[0])
                log.error("%s failed, the line-up continues without it: %s", name, outcomes[name])
            else:
                outcomes[name] = [task.result() for task in tasks[name]]
        return outcomes


def _work(job: Job, stage: str, split: str, uri: str, after: Sequence[runs.Record]) -> runs.Record:
    """A stage in a worker, which logs to the client's tracking store; `after` only delays it."""
    os.environ["MLFLOW_TRACKING_URI"] = uri
    return stages.run_stage(job, stage, split)


def _failed_bases(job: Job, outcomes: Mapping[str, Outcome]) -> str:
    """Why a member cannot run, empty if it can."""
    failed = [base for base in job.member.config.builds_on if isinstance(outcomes[base], str)]
    return f"it builds on {', '.join(failed)}" if failed else ""


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
