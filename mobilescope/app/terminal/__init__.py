"""What stands on the terminal: progress, questions, tables, signals."""
