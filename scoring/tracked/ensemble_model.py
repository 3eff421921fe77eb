"""Ensembles as registered models: each fused ensemble is a version, which ranks the segments of any videos.

A version refers to its members' runs, which have the weights; with it are the members' descriptions, the weights of the
fusion, k, and a copy of the code (`tracking.code_models`). The alias `best` of members and ensembles moves here.
"""

import json
import logging
import re
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from scoring.fusion.fusion import By
from scoring.fusion.workers import merge_in_blocks, ranks_in_blocks
from scoring.lists.ids import union_of_segments
from scoring.lists.opening import open_submission, open_submissions
from scoring.lists.ranked import K, RankedLists
from scoring.lists.writing import write_coded
from scoring.measures.bootstrap import Bootstrap, Resampled
from scoring.weights.weights_json import Weights
from tracking import metrics, runs
from tracking.code_models import CodeModel
from tracking.models import log_model
from tracking.registry import (
    ENSEMBLE_DIGEST,
    Registered,
    Version,
    best_version,
    move_best,
    registered_name,
    version_of_run,
    versions,
)
from tracking.stage import digest
from tracking.writing import Run
from videos.judgments import Judgments

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint_run"  # param of an infer run: the finetune run whose weights it used


def register_ensemble(
    run: Run,
    name: str,
    *,
    identity: Mapping[str, str],
    inferred: Mapping[str, runs.Record],
    weights: Weights,
    by: By,
    scores: Mapping[str, float],
    note: str,
    content: str,
) -> None:
    """Log an ensemble to its fuse run as a version of the registered model `name`, unless it is one already.

    `inferred` is the infer run of each member, `content` the `ensemble_digest`. Runs of earlier versions, which did
    not describe their member, make no version; a log message says so.
    """
    try:
        trained = {member: runs.get_run(record.params[CHECKPOINT]) for member, record in inferred.items()}
    except ValueError as error:  # a run that was removed for good
        log.warning("%s is not registered as a model: %s", name, error)
        return
    if any(version.tags.get(ENSEMBLE_DIGEST) == content for version in versions(name)):
        return
    if old := [member for member, record in trained.items() if not record.has_artifact(runs.DESCRIPTION)]:
        text = "%s is not registered as a model: %s was fine-tuned by an earlier version; repeat it with --force"
        log.warning(text, name, ", ".join(old))
        return
    members = {
        member: {
            "version": _number(record),
            "run_id": record.run_id,
            "description": _predicting(record, inferred[member]),
        }
        for member, record in trained.items()
    }
    model = CodeModel(
        module="training.serving",
        factory="EnsembleModel",
        files={
            "ensemble.json": json.dumps(
                {"weights": weights.weights, "k": weights.k, "by": by, "members": members}, indent=1
            )
        },
        frameworks={record.tags[runs.FRAMEWORK] for record in trained.values()},
        runs={member: record.run_id for member, record in trained.items()},
        example=_example(next(iter(members.values()))["description"]["dataset"]),
    )
    versions_used = ", ".join(f"{member} v{described['version']}" for member, described in members.items())
    registered = Registered(
        name=name,
        about="An ensemble: videos' frames to ranked classes per segment. docs/models.md says how to use it.",
        note=f"{note}\n\nMembers: {versions_used}.",
        tags={**identity, ENSEMBLE_DIGEST: content},
        is_unmeasured=runs.is_final(identity[runs.LINEUP]),
    )
    shares = {metrics.weight(member): f"{share:.6f}" for member, share in weights.weights.items()}
    logged = re.sub(r"[/:.%'\"]", "-", identity.get(runs.ENSEMBLE, "ensemble"))  # MLflow refuses these
    log_model(run, logged, "code", model, None, {"k": weights.k, "by": by, **shares}, identity, scores, registered)


def ensemble_digest(inferred: Mapping[str, runs.Record], weights: Weights, by: By) -> str:
    """Digest of what an ensemble's lists depend on, besides the videos."""
    members = {member: (record.params[CHECKPOINT], record.params.get("shifts")) for member, record in inferred.items()}
    return digest("ensemble", members, weights.weights, weights.k, by)


def _predicting(trained: runs.Record, inferred: runs.Record) -> dict[str, Any]:
    """What a member is built from, with the shifts of its prediction: fine-tuning does not depend on them."""
    description = json.loads(trained.artifact(runs.DESCRIPTION).read_text())
    description["members"][0]["shifts"] = json.loads(inferred.params["shifts"])
    return description


def member_name(record: runs.Record) -> str:
    """The registered model of the member of a stage's run."""
    return registered_name(*(record.tags[tag] for tag in (runs.DATASET, runs.LINEUP, runs.MEMBER)))


def _example(dataset: Mapping[str, Any]) -> bytes:
    """The frames of a video of one segment, all zeros."""
    shape = (dataset["segment_frames"], sum(dataset["modalities"].values()))
    return np.zeros(shape, dtype=dataset["dtype"]).tobytes()


def _number(record: runs.Record) -> str:
    version = version_of_run(member_name(record), record.run_id)
    return version.number if version else "none"


def settle_members(
    inferred: Mapping[str, runs.Record], merged: Mapping[str, RankedLists], judgments: Judgments, by: By
) -> None:
    """Decide for each member if its alias `best` moves to the version that made its predictions `inferred`."""
    for member, record in inferred.items():
        version = version_of_run(member_name(record), record.params.get(CHECKPOINT, "none"))
        if version is not None:
            with tempfile.TemporaryDirectory() as folder:
                settle_best(version, merged[member], judgments, partial(_member_lists, record, by, Path(folder)))


def _member_lists(record: runs.Record, by: By, folder: Path, version: Version) -> RankedLists | None:
    """The merged lists of another version of the member of the infer run `record`; None if it has not predicted."""
    same = {tag: record.tags[tag] for tag in (runs.LINEUP, runs.MEMBER, runs.STAGE, runs.SPLIT)}
    for other in runs.find_runs(record.experiment, True, **same):
        if other.params.get(CHECKPOINT) == version.run_id:
            shifts = list(open_shifts(other).values())
            segments = union_of_segments([shift.segments for shift in shifts])
            write_coded(merge_in_blocks(shifts, by=by), segments, folder / "merged")
            return open_submission(folder / "merged")
    return None


def settle_best(
    version: Version, lists: RankedLists, judgments: Judgments, lists_of: Callable[[Version], RankedLists | None]
) -> None:
    """Move the alias `best` to `version`, whose lists are `lists`, if it is better by more than chance explains.

    The paired 95 % interval of the difference in MAP must be above 0. `lists_of` returns the lists of the version that
    has the alias, None if they are of other data.
    """
    best = best_version(version.name)
    if best is None:
        move_best(version.name, version.number)
        return
    if best.number == version.number:
        return
    is_comparable = best.tags.get(runs.DATA_DIGEST) == version.tags.get(runs.DATA_DIGEST)
    others = lists_of(best) if is_comparable else None
    if others is None:
        text = "%s: version %s stays `best`; it has no predictions of the same data to compare version %s with"
        log.info(text, version.name, best.number, version.number)
        return
    bootstrap = Bootstrap(judgments)
    gain = _measured(bootstrap, lists).over(_measured(bootstrap, others))
    change = f"{gain.map:+z.4f} MAP, 95 % interval {gain.low:+z.4f} to {gain.high:+z.4f}"
    if gain.low > 0:
        move_best(version.name, version.number)
        log.info("%s: version %s is `best` now, before %s: %s", version.name, version.number, best.number, change)
    else:
        log.info("%s: version %s stays `best`; version %s: %s", version.name, best.number, version.number, change)


def _measured(bootstrap: Bootstrap, lists: RankedLists) -> Resampled:
    return bootstrap.measure(*ranks_in_blocks(lists, bootstrap.judgments, cutoff=K))


def open_shifts(record: runs.Record) -> dict[int, RankedLists]:
    """The predictions of an infer run by shift, opened, the most negative first; ValueError if a file is missing."""
    with record.reading("predictions") as (folder,):
        files = {int(file.stem.removeprefix("shift")): file for file in folder.glob("shift*.parquet")}
        shifts = json.loads(record.params["shifts"]) if "shifts" in record.params else files
        if missing := [shift for shift in shifts if shift not in files]:
            raise ValueError(f"{folder} has no shift{missing[0]}.parquet")
        ordered = sorted(files)
        opened = open_submissions([files[shift] for shift in ordered])
        return dict(zip(ordered, opened.values(), strict=True))
