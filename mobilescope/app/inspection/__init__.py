"""What is in a file, and whether it is whole."""
