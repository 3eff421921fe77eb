"""Where videos come from: one reader a file."""
