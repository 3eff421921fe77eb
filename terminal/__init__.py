"""The terminal side of every command: parsing, errors, progress bars, tables."""
