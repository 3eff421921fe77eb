"""Files and folders, replaced whole."""
