"""Videos: datasets, segments, judgments, splits, the frame store, and ingest."""
