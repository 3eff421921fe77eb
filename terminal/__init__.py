"""What every command does at the terminal: parse, report errors, show progress."""
