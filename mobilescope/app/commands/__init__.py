"""The command line: each module is one command, a thin shell over what does the work."""
