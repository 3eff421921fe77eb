"""What can be known before training starts: options, schedules and data that would fail or mean nothing later."""

from collections.abc import Sequence

import polars as pl

from training.fit import processes
from training.job import Job
from videos.segments import segments_of
from videos.store import FrameStore


def check_stage(job: Job, stage: str) -> None:
    """ValueError if a stage of a member cannot be run by these processes, with these options, on this machine."""
    if stage == "infer":
        processes.alone("infer")
    elif not job.kind.shares_work:
        processes.alone(f"training {job.member.name} in {job.kind.title}")
    schedules = {"pretrain": job.member.pretrain, "finetune": job.member.finetune}
    schedule = schedules.get(stage)
    job.kind.check(job.options, [schedule] if schedule else [])
    for base in job.member.config.builds_on:  # fine-tuned once more by the member, and scored
        check_stage(job.for_member(base), stage)


def check_scored(store: FrameStore) -> None:
    """ValueError if no class of the store is scored."""
    if not store.dataset.scored_classes:
        raise ValueError(f"{store.folder} scores no class; ingest rated shards, or give --segment-classes")


def check_run(jobs: Sequence[Job], store: FrameStore) -> None:
    """ValueError if a whole line-up cannot go through all stages to the search for its weights."""
    check_scored(store)
    if _rated(store, "finetune").is_empty():
        raise ValueError(f"{store.folder} rates no scored class in the split finetune; ingest rated shards")
    if store.split("holdout").is_empty():
        raise ValueError(f"{store.folder} has no video in the split holdout, where weights are chosen; {MORE}")
    if not (_rated(store, "holdout")["relevance"] > 0).any():
        raise ValueError(f"{store.folder} rates no scored class as there in the split holdout; {MORE}")
    for job in jobs:
        for stage in ("pretrain", "finetune", "infer"):
            check_stage(job, stage)


MORE = "ingest more rated shards"


def _rated(store: FrameStore, split: str) -> pl.DataFrame:
    """The judgments of the segments of a split for scored classes."""
    judged = store.judged(segments_of(store.split(split), store.dataset))
    return judged.filter(pl.col("class_id").is_in(store.dataset.scored_classes))
