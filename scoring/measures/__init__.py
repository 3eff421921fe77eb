"""Average precision at K, its mean, GAP@20, and bootstrap intervals."""
