"""The LightGBM member: its stage, its folds, its booster."""
