"""Each claim of speed, measured against a named peer in one run."""
