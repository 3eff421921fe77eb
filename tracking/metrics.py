"""The names of all metrics: runs log under them, the dashboard and the reports read by them.

Most names are `<subject>/<value>`: the subject is a stage, a shift, a member or a way to weight the members. MAP is
MAP@100K on the holdout, unless the run's tag `split` names another split. The names of the columns that the saved views
show have at most 13 characters, because the run table of the MLflow UI truncates longer ones.
"""

import re
from collections.abc import Mapping

MAP = "map"  # without a subject: of a training step or of a trial
GAP = "gap"  # GAP@20 of video-level predictions on the holdout
SECONDS = "seconds"

# Training, at each step
LOSS, LEARNING_RATE, EXAMPLES_PER_SECOND = "loss", "learning_rate", "examples_per_second"
# Training and inference, at the end
CHOSEN_STEP, WINDOWS_PER_SECOND = "chosen_step", "windows_per_second"
# The search for weights: each trial logs these and MAP
BEST_MAP, TRIAL_SECONDS = "best_map", "trial_seconds"
# The 95 % percentile interval of an optimize run's weights
LOW, HIGH = "low", "high"
K = "k"  # the constant of reciprocal-rank fusion
SHRINKAGE = "ensemble/shrinkage"
# MAP of the ensemble minus MAP of its best member, and the 95 % percentile interval of the difference
GAIN = "ensemble/gain"
GAIN_LOW, GAIN_HIGH = f"{GAIN}_low", f"{GAIN}_high"

# Subjects: a member after a stage
PRETRAINED, FINETUNED, MERGED = "pretrain", "finetune", "merged"
SWEPT = "sweep"  # of videos outside the fold that a member was fine-tuned without
# Subjects: the ensemble and its baselines
# (with a space, which no member's name has)
ENSEMBLE, EQUAL_WEIGHTS, BEST_MEMBER, SHRUNK_WEIGHTS = "ensemble", "all equal", "best one", "all shrunk"

WEIGHT = "weight/"  # followed by a member's name


def map_of(subject: str) -> str:
    """MAP of a subject: one of those above, a member's name, or `shift(n)`."""
    return f"{subject}/{MAP}"


def gap_of(subject: str) -> str:
    """GAP@20 of a subject."""
    return f"{subject}/{GAP}"


def low(subject: str) -> str:
    """Lower end of the 95 % percentile interval of a subject's MAP."""
    return f"{subject}/{LOW}"


def high(subject: str) -> str:
    """Upper end of the 95 % percentile interval of a subject's MAP."""
    return f"{subject}/{HIGH}"


def cross_validated(subject: str) -> str:
    """MAP of a subject on videos that were not used to choose its weights."""
    return f"{subject}/cv"


def shift(frames: int) -> str:
    """The subject for predictions under one shift."""
    return f"shift{frames}"


def shift_label(frames: int) -> str:
    """A shift in texts and pictures: -1, 0, +1."""
    return f"{frames:+d}" if frames else "0"


def shifts_between(low: int, high: int) -> str:
    """The subject for all shifts from `low` to `high` merged."""
    return f"shifts {low} to {high}"


def prior(exponent: float) -> str:
    """The subject for scores mixed with the video's, which has this exponent."""
    return f"prior {exponent}"


def shifts(member: str) -> str:
    """Number of shifts of a member that a merge run merged."""
    return f"{member}/shifts"


def weight(member: str) -> str:
    """The share of a member in the ensemble, 0 to 1."""
    return f"{WEIGHT}{member}"


def leave_one_out(member: str) -> str:
    """MAP of the ensemble minus its MAP without a member."""
    return f"leave_one_out/{member}"


def weights(metrics: Mapping[str, float]) -> dict[str, float]:
    """The weights in a run's metrics: member -> share."""
    return {key.removeprefix(WEIGHT): value for key, value in metrics.items() if key.startswith(WEIGHT)}


def shift_maps(metrics: Mapping[str, float]) -> dict[int, float]:
    """MAP per shift in an infer run's metrics: shift in frames -> MAP, shifts ascending."""
    matches = {re.fullmatch(rf"shift(-?\d+)/{MAP}", key): value for key, value in metrics.items()}
    return dict(sorted((int(match[1]), value) for match, value in matches.items() if match))


def headline(stage: str, metrics: Mapping[str, float]) -> tuple[float | None, float | None, float | None]:
    """MAP in the metrics of a stage's run, and its 95 % percentile interval; None for what the stage does not log."""
    subjects = {"pretrain": PRETRAINED, "finetune": FINETUNED, "sweep": SWEPT, "infer": shift(0), "fuse": ENSEMBLE}
    subject = subjects.get(stage)
    if subject is None:  # LOW and HIGH of a search are of its weights after shrinkage, unlike BEST_MAP
        return (metrics.get(BEST_MAP) if stage == "optimize" else None), None, None
    return metrics.get(map_of(subject)), metrics.get(low(subject)), metrics.get(high(subject))
