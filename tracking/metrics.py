"""The vocabulary of metrics, once: the names under which runs log and by which the dashboard and the reports read.

Most names are `<subject>/<value>`: the subject is a stage, a shift, a member or a way to weight the members. MAP is
MAP@100K on the holdout, unless a run says what else it is of.
"""

from collections.abc import Mapping

MAP = "map_at_100k"  # alone: of a training step or of a trial
SECONDS = "seconds"

# Training, at each step
LOSS, LEARNING_RATE, EXAMPLES_PER_SECOND = "loss", "learning_rate", "examples_per_second"
# Training and inference, at the end
CHOSEN_STEP, WINDOWS_PER_SECOND = "chosen_step", "windows_per_second"
# The search for weights: each trial logs these and MAP
BEST_MAP, TRIAL_SECONDS = "best_map_at_100k", "trial_seconds"
# The ends of the percentile interval of an optimize run's own weights
LOW, HIGH = "low", "high"
K = "k"  # the constant of reciprocal-rank fusion
SHRINKAGE = "ensemble/shrinkage"
# What the ensemble's MAP is above its best member's, with the ends of the interval of the difference
GAIN = "ensemble/gain_over_best_member"
GAIN_LOW, GAIN_HIGH = f"{GAIN}_low", f"{GAIN}_high"

# Subjects: a member after each of its stages
PRETRAINED, FINETUNED, MERGED = "pretrained", "finetuned", "merged"
# Subjects: what the ensemble is compared with
ENSEMBLE, EQUAL_WEIGHTS, BEST_MEMBER, SHRUNK_WEIGHTS = "ensemble", "equal_weights", "best_member", "shrunk_weights"

WEIGHT = "weight/"  # followed by a member's name


def map_of(subject: str) -> str:
    """MAP of a subject: one of those above, a member's name, or `shift(n)`."""
    return f"{subject}/{MAP}"


def low(subject: str) -> str:
    """The lower end of the 95 % percentile interval of a subject's MAP."""
    return f"{subject}/{LOW}"


def high(subject: str) -> str:
    """The upper end of the 95 % percentile interval of a subject's MAP."""
    return f"{subject}/{HIGH}"


def cross_validated(subject: str) -> str:
    """MAP of a subject on videos that its weights were not chosen on."""
    return f"{subject}/cross_validated_map"


def shift(frames: int) -> str:
    """The subject of predictions under one shift."""
    return f"shift{frames}"


def shifts(member: str) -> str:
    """The number of shifts that a merge run merged for a member."""
    return f"{member}/shifts"


def weight(member: str) -> str:
    """The share of a member in the ensemble, 0 to 1."""
    return f"{WEIGHT}{member}"


def leave_one_out(member: str) -> str:
    """What the ensemble's MAP loses without a member."""
    return f"leave_one_out/{member}"


def weights(metrics: Mapping[str, float]) -> dict[str, float]:
    """Member -> share: the weights among a run's metrics."""
    return {key.removeprefix(WEIGHT): value for key, value in metrics.items() if key.startswith(WEIGHT)}
