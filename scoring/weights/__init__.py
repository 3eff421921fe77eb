"""Fusion weights: the objective, the search, cross-validation and the report."""
