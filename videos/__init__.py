"""Videos: datasets, segments, judgments, splits, the frame store, and how they come in."""
