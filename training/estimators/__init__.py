"""One framework a file: fit, predict, save, load."""
