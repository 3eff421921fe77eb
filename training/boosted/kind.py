"""LightGBM as a kind of members: trees on the scores of other members, with stages of their own."""

from training.boosted import stage
from training.fit.kinds import Kind

KIND = Kind(
    title="LightGBM",
    format="code",
    parameters=lambda member, widths, classes, window: None,
    finetune=stage.finetune,
    scorer=stage.scorer,
)
