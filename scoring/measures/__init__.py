"""Average precision at K, its mean, and bootstrap intervals."""
