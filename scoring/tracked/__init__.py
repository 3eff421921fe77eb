"""merge, optimize and fuse as tracked stages, and what they log."""
